"""Single files of SD 3 and Flux: every weight used, the same pipeline as the folder, with parts from beside them."""

import copy
import json
import shutil

import diffusers
import pytest
import torch
from diffusers.loaders import single_file_utils as published
from safetensors.torch import load_file, save_file

import multidiff
from multidiff.errors import InputError
from multidiff.pretrained import folder, open_pipeline, pipeline_hash, single_file
from multidiff.pretrained.deduced import deduced_config
from multidiff.pretrained.keys import RULES, from_original, to_original
from multidiff.pretrained.networks import networks_of
from multidiff.pretrained.outline import empty_network
from multidiff.sampling.packing import pack_pipeline, pack_single
from tests.pretrained import folders
from tests.pretrained.test_single_file import description

DIFFUSION = "model.diffusion_model."
SD3, DEV, SCHNELL = "stable_diffusion_3", "flux_dev", "flux_schnell"

MEDIUM_3 = {"num_layers": 24, "num_attention_heads": 24, "pos_embed_max_size": 24, "caption_projection_dim": 1536}
PUBLISHED = {
    "SD 3 medium": (SD3, MEDIUM_3, 2.03e9),
    "SD 3.5 medium": (
        SD3,
        {**MEDIUM_3, "dual_attention_layers": tuple(range(13)), "qk_norm": "rms_norm"},
        2.24e9,
    ),
    "SD 3.5 large": (
        SD3,
        {
            **MEDIUM_3,
            "num_layers": 38,
            "num_attention_heads": 38,
            "caption_projection_dim": 2432,
            "qk_norm": "rms_norm",
        },
        8.06e9,
    ),
    "Flux dev": (DEV, {"num_layers": 19, "num_single_layers": 38, "guidance_embeds": True}, 11_901_408_320),
    "Flux schnell": (SCHNELL, {"num_layers": 19, "num_single_layers": 38, "guidance_embeds": False}, 11_891_178_560),
}
"""Architecture, config of the transformer, and its parameters as published, of SD 3 with three digits.

The table of positions is smaller here: to make it takes seconds.
"""


def empty(name, **config):
    entry = description(name)["parts"]["transformer"]
    return empty_network(entry["library"], entry["class"], {**entry["config"], **config})


def original_keys(rule, network):
    state = network.state_dict()
    return to_original(RULES[rule](state), state)


@pytest.mark.parametrize("published_as", PUBLISHED)
def test_the_weights_tell_the_config(published_as):
    name, config, count = PUBLISHED[published_as]
    network, entry = empty(name, **config), description(name)["parts"]["transformer"]
    parameters = sum(each.numel() for each in network.parameters())
    assert parameters == pytest.approx(count, rel=3e-3 if name == SD3 else 0)
    shapes = {key: tensor.shape for key, tensor in original_keys(entry["rule"], network).items()}
    found = empty(name, **deduced_config(entry["rule"], entry["config"], shapes)).config
    own = {**network.config, "out_channels": network.out_channels}
    assert {key: found[key] for key in own if not key.startswith("_")} == {
        key: own[key] for key in own if not key.startswith("_")
    }


@pytest.mark.parametrize(
    ("name", "config"),
    [
        (SD3, {"num_layers": 2}),
        (SD3, {"num_layers": 2, "dual_attention_layers": (0,), "qk_norm": "rms_norm"}),
        (DEV, {"num_layers": 1, "num_single_layers": 1, "guidance_embeds": True}),
        (SCHNELL, {"num_layers": 1, "num_single_layers": 1}),
    ],
)
def test_keys_and_values_are_those_that_diffusers_converts(name, config):
    rule = description(name)["parts"]["transformer"]["rule"]
    shapes = {key: tensor.shape for key, tensor in empty(name, **config).state_dict().items()}
    thin = {key: torch.Size((shape[0], *[1] * len(shape[1:]))) for key, shape in shapes.items()}  # values of each row
    thin |= {key: shape for key, shape in shapes.items() if key == "pos_embed.pos_embed"}
    state = {key: torch.randn(shape) for key, shape in thin.items()}
    names = RULES[rule](state)
    original = to_original(names, state)
    back = from_original(names, original, thin)
    convert = {
        "sd3": published.convert_sd3_transformer_checkpoint_to_diffusers,
        "flux": published.convert_flux_transformer_checkpoint_to_diffusers,
    }[rule]
    given = {DIFFUSION + key: tensor for key, tensor in original.items()}
    theirs = convert(given)
    assert not given
    assert theirs.keys() == back.keys() == state.keys()
    for key, tensor in state.items():
        assert torch.equal(theirs[key], tensor)
        assert torch.equal(back[key], tensor)


def tiny_description(name, pipeline):
    """The description of an architecture with the sizes of a tiny pipeline."""
    text = description(name)
    for part, entry in text["parts"].items():
        config = getattr(pipeline, part).config
        entry["config"] = dict(config) if entry["library"] == "diffusers" else config.to_dict()
    text["scheduler"] = dict(pipeline.scheduler.config)
    return text


def part_state(text, pipeline, part, prefix=None):
    """The weights of a part in the original layout, in half precision."""
    entry = text["parts"][part]
    state = original_keys(entry["rule"], getattr(pipeline, part))
    start = entry["prefix"][0] if prefix is None else prefix
    return {start + key: tensor.half() for key, tensor in state.items()}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Tiny folders, and the descriptions of their architectures, among the shipped ones."""
    place = shutil.copytree(single_file.ARCHITECTURES, tmp_path_factory.mktemp("transformers") / "all")
    pipelines = {
        SD3: folders.stable_diffusion_3(place / SD3, shift=3.0),
        DEV: folders.flux(place / DEV, distilled=True, use_dynamic_shifting=True),
    }
    torch.nn.init.eye_(pipelines[SD3].text_encoder.text_projection.weight)  # as in the published folders
    pipelines[SD3].text_encoder.save_pretrained(place / SD3 / "text_encoder")
    texts = {name: tiny_description(name, pipeline) for name, pipeline in pipelines.items()}
    for name, text in texts.items():
        (place / f"{name}.json").write_text(json.dumps(text, default=str))
    return place, pipelines, texts


@pytest.fixture
def architectures(place, monkeypatch):
    monkeypatch.setattr(single_file, "ARCHITECTURES", place[0])
    return place


def tokenizers(place, name, folder):
    for number in ("", "_2", "_3"):
        if (place / name / f"tokenizer{number}").is_dir():
            shutil.copytree(place / name / f"tokenizer{number}", folder / f"tokenizer{number}")


def assert_equal_networks(file, folder):
    ours, expected = (networks_of(multidiff.load(path, "cpu").model) for path in (file, folder))
    assert ours.keys() == expected.keys()
    for part, network in ours.items():
        theirs = expected[part].state_dict()
        weights = network.state_dict()
        assert weights.keys() == theirs.keys()
        assert all(torch.equal(weights[key], each.half().float()) for key, each in theirs.items() if key != "pos_embed")


def test_a_file_of_sd3_is_the_pipeline_of_the_folder(architectures, tmp_path):
    place, pipelines, texts = architectures
    state = {"text_encoders.clip_l.logit_scale": torch.zeros(())}
    for part in texts[SD3]["parts"]:
        state |= part_state(texts[SD3], pipelines[SD3], part)
    file = tmp_path / "sd3.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in state.items()}, file)
    with pytest.raises(InputError, match=r"needs the vocabulary of CLIP"):
        multidiff.load(file, "cpu")
    tokenizers(place, SD3, tmp_path)
    assert_equal_networks(file, place / SD3)
    clips = {key: tensor for key, tensor in state.items() if "t5xxl" not in key}
    save_file(clips, file)
    assert [*networks_of(multidiff.load(file, "cpu").model)] == ["transformer", "text_encoder", "text_encoder_2", "vae"]
    save_file({**state, f"{DIFFUSION}more": torch.zeros(1)}, file)
    with pytest.raises(InputError, match=r"has 1 weights that do not belong to a StableDiffusion3Pipeline: model.diff"):
        multidiff.load(file, "cpu")
    save_file({**state, f"{DIFFUSION}x_embedder.proj.weight": torch.zeros(2)}, file)
    with pytest.raises(InputError, match="its weights have unexpected shapes"):
        multidiff.load(file, "cpu")


@pytest.mark.parametrize("prefix", [DIFFUSION, ""])
def test_a_file_of_a_transformer_takes_other_parts_from_beside_it(architectures, tmp_path, monkeypatch, prefix):
    place, pipelines, texts = architectures
    monkeypatch.setenv("MULTIDIFF_CACHE", str(tmp_path / "cache"))
    text, pipeline = texts[DEV], pipelines[DEV]
    folder, weights = tmp_path / "models", tmp_path / "cache" / "weights"
    folder.mkdir()
    weights.mkdir(parents=True)
    file = folder / "flux.safetensors"
    save_file(part_state(text, pipeline, "transformer", prefix), file)
    with pytest.raises(InputError, match=r"holds no vae \(AutoencoderKL\): put vae/ of .* or ae.safetensors beside it"):
        multidiff.load(file, "cpu")
    save_file(part_state(text, pipeline, "vae", ""), folder / "ae.safetensors")
    (tmp_path / "clip").mkdir()
    save_file(part_state(text, pipeline, "text_encoder", ""), tmp_path / "clip" / "clip_l.safetensors")
    with pytest.raises(InputError, match=r"holds no text_encoder_2 \(T5EncoderModel\): .*t5xxl_fp16.safetensors"):
        multidiff.load(file, "cpu")
    save_file(part_state(text, pipeline, "text_encoder_2", ""), weights / "t5xxl_fp16.safetensors")
    shutil.copytree(place / DEV / "tokenizer", folder / "tokenizer")
    with pytest.raises(InputError, match=r"needs the vocabulary of T5: copy tokenizer_2/"):
        multidiff.load(file, "cpu")
    shutil.copytree(place / DEV / "tokenizer_2", weights / "t5-tokenizer")
    assert_equal_networks(file, place / DEV)
    before = pipeline_hash(file)
    encoder = load_file(folder / "ae.safetensors")
    save_file({**encoder, "encoder.conv_in.bias": encoder["encoder.conv_in.bias"] + 1}, folder / "ae.safetensors")
    assert pipeline_hash(file) != before


@pytest.mark.parametrize("name", [SD3, DEV])
def test_a_folder_becomes_a_file_and_a_folder_again(architectures, tmp_path, name):
    place = architectures[0]
    file, again = tmp_path / "whole.safetensors", tmp_path / "again"
    pack_single(place / name, file, {})
    tokenizers(place, name, tmp_path)
    pack_pipeline(file, again, {})
    theirs = diffusers.DiffusionPipeline.from_pretrained(again, local_files_only=True)
    assert type(theirs).__name__ == description(name)["pipeline"]
    for path in (file, again):
        ours, expected = (multidiff.load(each, "cpu") for each in (path, place / name))
        assert (ours.sampler, ours.guidance) == (expected.sampler, expected.guidance)
        own, other = (networks_of(each.model) for each in (ours, expected))
        assert own.keys() == other.keys()
        for part, network in own.items():
            state = other[part].state_dict()
            assert all(torch.equal(each, state[key]) for key, each in network.state_dict().items())
    pack_single(again, tmp_path / "second.safetensors", {})
    before, after = load_file(file), load_file(tmp_path / "second.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(each, after[key]) for key, each in before.items())


@pytest.mark.parametrize(("device", "dtype"), [("cpu", torch.float32), ("meta", torch.float16)])
def test_memory_holds_the_types_of_the_files_for_other_devices_than_a_cpu(
    architectures, tmp_path, monkeypatch, device, dtype
):
    """Each network, T5 among them, is loaded in the type in which it will compute."""
    place, pipelines, texts = architectures
    halved = copy.deepcopy(pipelines[DEV]).to(torch.float16)
    halved.save_pretrained(tmp_path / "flux")
    file = tmp_path / "flux" / "flux1.safetensors"  # takes its other parts from the folder
    save_file(part_state(texts[DEV], pipelines[DEV], "transformer", ""), file)
    whole = tmp_path / "sd3.safetensors"
    state = [part_state(texts[SD3], pipelines[SD3], part) for part in texts[SD3]["parts"]]
    save_file({key: tensor.contiguous() for each in state for key, tensor in each.items()}, whole)
    tokenizers(place, SD3, tmp_path)
    loaded = []
    for module in (folder, single_file):
        monkeypatch.setattr(module, "assembled", lambda parts, where, device: loaded.append(parts))
    for path in (tmp_path / "flux", file, whole):
        open_pipeline(path, device)
        networks = loaded.pop().networks
        assert len(networks) >= 4
        assert {weight.dtype for each in networks.values() for weight in each.parameters()} == {dtype}


def test_parts_in_folders_beside_the_file_and_fp8_is_refused(architectures, tmp_path):
    place, pipelines, texts = architectures
    folder = shutil.copytree(place / DEV, tmp_path / "flux")
    state = part_state(texts[DEV], pipelines[DEV], "transformer", "")
    save_file({key: tensor.bfloat16() for key, tensor in state.items()}, folder / "flux1.safetensors")
    ours = multidiff.load(folder / "flux1.safetensors", "cpu")
    assert ours.sample(1, prompt="a fox", steps=1, fields={"height": 16, "width": 16})[0].size == (16, 16)
    save_file({key: tensor.to(torch.float8_e4m3fn) for key, tensor in state.items()}, folder / "flux8.safetensors")
    with pytest.raises(InputError, match="has the type F8_E4M3; supported: F"):
        multidiff.load(folder / "flux8.safetensors", "cpu")
