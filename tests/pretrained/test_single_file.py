"""Single files: recognised by their keys, every weight used, the same pipeline as the folder."""

import gzip
import json
import shutil
from functools import partial

import diffusers
import pytest
import torch
from diffusers.loaders import single_file_utils as published
from safetensors.torch import load_file, save_file

import multidiff
from multidiff.cli.inspection import inspected
from multidiff.cli.sample import run
from multidiff.diffusion.predictions import Velocity
from multidiff.errors import InputError
from multidiff.pretrained import single_file, vocabulary
from multidiff.pretrained.keys import RULES, from_original, to_original
from multidiff.pretrained.outline import empty_network
from multidiff.pretrained.single_saving import odd_settings
from multidiff.sampling.packing import pack_pipeline, pack_single
from multidiff.sampling.reproduce import reproduce_samples
from tests.cli.command import multidiff as command
from tests.cli.command import refused
from tests.pretrained import folders
from tests.pretrained.test_lora import UNET
from tests.pretrained.tuned import tuned

ARCHITECTURES = {
    "stable_diffusion_1": 859_520_964,
    "stable_diffusion_2": 865_910_724,
    "stable_diffusion_xl": 2_567_463_684,
}
"""Parameters of the U-Net, as published."""


def description(name):
    return json.loads((single_file.ARCHITECTURES / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def tiny(saved, saved_xl, tmp_path_factory):
    """Folder of architectures, two of them tiny, and the single files of the tiny pipelines by architecture."""
    place, files = shutil.copytree(single_file.ARCHITECTURES, tmp_path_factory.mktemp("tiny") / "all"), {}
    for name, (_, pipeline) in {"stable_diffusion_1": saved, "stable_diffusion_xl": saved_xl}.items():
        text, state = description(name), {}
        for part, entry in text["parts"].items():
            network = getattr(pipeline, part)
            entry["config"] = dict(network.config) if part in ("unet", "vae") else network.config.to_dict()
            weights = network.float().state_dict()
            original = to_original(RULES[entry["rule"]](weights), weights)
            state |= {entry["prefix"] + key: tensor.half() for key, tensor in original.items()}
        text["scheduler"] = dict(pipeline.scheduler.config)
        (place / f"{name}.json").write_text(json.dumps(text, default=str))
        files[name] = place / name / "model.safetensors"
        files[name].parent.mkdir()
        extra = {"model_ema.decay": torch.zeros(()), "alphas_cumprod": torch.zeros(3)}
        save_file({**state, **extra}, files[name])
        pipeline.tokenizer.save_pretrained(files[name].parent / "tokenizer")
    return place, files


@pytest.fixture(autouse=True)
def _architectures(tiny, monkeypatch):
    monkeypatch.setattr(single_file, "ARCHITECTURES", tiny[0])


def networks(model):
    """The networks of a pipeline."""
    return [model.denoiser.network, model.codec.network, *model.conditioner.parts["caption"].encoders]


@pytest.mark.parametrize("name", ["stable_diffusion_1", "stable_diffusion_xl"])
def test_it_is_the_pipeline_of_the_folder(saved, saved_xl, tiny, name):
    folder = (saved if name == "stable_diffusion_1" else saved_xl)[0]
    ours, expected = (multidiff.load(path, "cpu").model for path in (tiny[1][name], folder))
    for one, other in zip(networks(ours), networks(expected), strict=True):
        weights = one.state_dict()
        assert weights.keys() == other.state_dict().keys()
        assert all(torch.equal(weights[key], each.half().float()) for key, each in other.state_dict().items())
    for one, other in zip(*(m.conditioner.parts["caption"].towers for m in (ours, expected)), strict=True):
        assert (one.layer, one.pooled) == (other.layer, other.pooled)
        assert (one.vocabulary.start, one.vocabulary.end) == (other.vocabulary.start, other.vocabulary.end)


@pytest.mark.parametrize("name", ["stable_diffusion_1", "stable_diffusion_xl"])
def test_a_single_file_is_told_as_it_opens(tiny, name):
    found, opened = inspected(tiny[1][name]), multidiff.load(tiny[1][name], "cpu")
    assert found.kind == "a pretrained pipeline in a single file"
    assert found.facts["family"] == description(name)["pipeline"]
    assert found.facts["samples"] == " x ".join(map(str, opened.data_shape))
    assert f" {opened.sampler['steps']} steps, guidance {opened.guidance:g}" in found.facts["sampling"]
    assert not found.problems


def test_a_single_file_that_lacks_its_tokenizer_is_told_with_that_problem(tiny, tmp_path):
    path = tmp_path / "alone.safetensors"
    path.symlink_to(tiny[1]["stable_diffusion_1"])
    found = inspected(path)
    assert found.facts["family"] == "StableDiffusionPipeline"
    assert found.facts["unet"].startswith("UNet2DConditionModel, ")
    assert any("needs the vocabulary of CLIP" in problem for problem in found.problems)


def test_its_samples_are_reproduced(tiny, tmp_path):
    run(str(tiny[1]["stable_diffusion_1"]), tmp_path / "out", 1, {"prompt": ["a fox"], "steps": 1})
    assert reproduce_samples(tmp_path / "out" / "00000.png").equal


@pytest.mark.parametrize("name", ["stable_diffusion_1", "stable_diffusion_xl"])
def test_it_becomes_a_folder_and_a_file_again(tiny, tmp_path, name):
    file, folder, again = tiny[1][name], tmp_path / "folder", tmp_path / "again.safetensors"
    pack_pipeline(file, folder, {})
    theirs = diffusers.DiffusionPipeline.from_pretrained(folder, local_files_only=True)
    assert type(theirs).__name__ == description(name)["pipeline"]
    ours, opened = multidiff.load(file, "cpu"), multidiff.load(folder, "cpu")
    assert (opened.sampler, opened.guidance, opened.shape) == (ours.sampler, ours.guidance, ours.shape)
    for one, other in zip(*(each.model.conditioner.parts["caption"].towers for each in (ours, opened)), strict=True):
        settings = [(each.layer, each.pooled, each.vocabulary.padding) for each in (one, other)]
        assert settings[0] == settings[1]
    x0 = [each.plan(1, prompt="a fox", steps=2).x0(range(1)) for each in (ours, opened)]
    assert torch.allclose(*x0, atol=1e-4)
    pack_single(folder, again, {})
    before, after = load_file(file), load_file(again)
    assert before.keys() - after.keys() == {"model_ema.decay", "alphas_cumprod"}
    assert all(each.dtype == torch.float16 and torch.equal(each, before[key]) for key, each in after.items())


@pytest.mark.slow
def test_a_lora_is_inside_what_is_packed(saved, tiny, tmp_path):
    lora, half = tmp_path / "style.safetensors", {str(tmp_path / "style.safetensors"): 0.5}
    save_file(
        {f"unet.{UNET}.lora_A.weight": torch.randn(2, 16), f"unet.{UNET}.lora_B.weight": torch.randn(16, 2)}, lora
    )
    shutil.copytree(saved[0] / "tokenizer", tmp_path / "tokenizer")
    for form, out in {"single": "style_sd.safetensors", "diffusers": "style_sd"}.items():
        done = command("pack", saved[0], "--lora", f"{lora}:0.5", "--out", out, "--format", form, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        ours, expected = multidiff.load(tmp_path / out, "cpu").model, multidiff.load(saved[0], "cpu", half).model
        for one, other in zip(networks(ours), networks(expected), strict=True):
            assert all(torch.equal(each, other.state_dict()[key]) for key, each in one.state_dict().items())


def test_a_file_says_what_it_predicts(folder, tmp_path):
    config = folder / "scheduler" / "scheduler_config.json"
    v = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    config.write_text(json.dumps({**json.loads(config.read_text()), **v}))
    pack_single(folder, tmp_path / "v.safetensors", {})
    shutil.copytree(folder / "tokenizer", tmp_path / "tokenizer")
    denoiser = multidiff.load(tmp_path / "v.safetensors", "cpu").model.denoiser
    assert isinstance(denoiser.prediction, Velocity)
    assert denoiser.schedule.alpha(torch.ones(())) == 0


def test_a_pipeline_for_inpainting_stays_one(tiny, tmp_path):
    path = changed(tiny, tmp_path, lambda state: {**state, CONV: torch.randn(8, 9, 3, 3).half()})
    pack_pipeline(path, tmp_path / "folder", {})
    opened = diffusers.DiffusionPipeline.from_pretrained(tmp_path / "folder", local_files_only=True)
    assert isinstance(opened, diffusers.StableDiffusionInpaintPipeline)
    pack_single(tmp_path / "folder", tmp_path / "again.safetensors", {})
    assert torch.equal(load_file(tmp_path / "again.safetensors")[CONV], load_file(path)[CONV])


@pytest.mark.parametrize("name", sorted(single_file.RECOGNISED.values()))
def test_the_scheduler_that_diffusers_saves_is_that_of_the_architecture(name, monkeypatch):
    monkeypatch.undo()
    known = description(name)["scheduler"]
    given = dict(getattr(diffusers, known["_class_name"]).from_config(known).config)
    assert odd_settings(given, known) == []
    assert odd_settings({**given, "num_train_timesteps": 4, "trained_betas": [0.1]}, known) == [
        "num_train_timesteps",
        "trained_betas",
    ]


@pytest.mark.parametrize(
    ("part", "changes", "fault"),
    [
        ("scheduler/scheduler_config.json", {"beta_end": 0.02}, "beta_end differs"),
        ("scheduler/scheduler_config.json", {"prediction_type": "sample"}, "prediction_type differs"),
        ("vae/config.json", {"scaling_factor": 0.5}, "vae differs in scaling_factor"),
        ("text_encoder/config.json", {"hidden_act": "gelu"}, "text_encoder differs in hidden_act"),
    ],
)
def test_what_a_single_file_cannot_tell_is_refused(folder, tmp_path, part, changes, fault):
    (folder / part).write_text(json.dumps({**json.loads((folder / part).read_text()), **changes}))
    with pytest.raises(InputError, match=f"cannot be a single file.*not stable_diffusion_1, since {fault}"):
        pack_single(folder, tmp_path / "out.safetensors", {})
    assert not (tmp_path / "out.safetensors").exists()


def test_mistakes_of_packing_are_one_line(saved, tmp_path):
    for arguments, line in {
        ("--out", "a"): "is a pretrained pipeline: pack it with --format diffusers or --format single",
        ("--out", "a", "--format", "single"): "name a new file that ends in .safetensors",
        ("--out", saved[0], "--format", "diffusers"): "is the pipeline itself",
        ("--out", "a", "--format", "diffusers", "--licence", "mit"): "--about and --licence are for the card",
        ("--out", "a", "--format", "diffusers", "--lora", "b"): "there is no LoRA at b",
        ("--out", "a", "--lora", "b"): "--lora and --format single are for a pretrained pipeline",
    }.items():
        refused("pack", saved[0], *arguments, cwd=tmp_path, saying=line)


def converted(rule, network, original, prefix):
    """What diffusers makes of original weights."""
    if rule == "unet":
        return published.convert_ldm_unet_checkpoint(original, network.config)
    if rule == "vae":
        return published.convert_ldm_vae_checkpoint(original, network.config)
    if rule == "clip":
        return published.convert_ldm_clip_checkpoint(original)
    return published.convert_open_clip_checkpoint(network, original, prefix)


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in [*ARCHITECTURES][1:]]


@pytest.mark.parametrize("name", ["stable_diffusion_1", *SLOW])
def test_the_names_of_the_shipped_architectures_are_those_that_diffusers_converts(monkeypatch, name):
    monkeypatch.undo()
    for part, entry in description(name)["parts"].items():
        network = empty_network(entry["library"], entry["class"], entry["config"])
        state = {key: tensor.to("meta") for key, tensor in network.state_dict().items()}
        named = to_original(RULES[entry["rule"]](state), state)
        original = {entry["prefix"] + key: tensor for key, tensor in named.items()}
        back = converted(entry["rule"], network, original, entry["prefix"])
        flat = {key.removeprefix("text_model."): tensor.shape for key, tensor in back.items()}
        assert flat == {key.removeprefix("text_model."): tensor.shape for key, tensor in state.items()}
        if part == "unet":
            assert sum(tensor.numel() for tensor in state.values()) == ARCHITECTURES[name]


TEXT = partial(folders.text_encoder, 24, projected=True)


@pytest.mark.parametrize(("rule", "build"), [("vae", folders.autoencoder), ("open_clip", TEXT)])
def test_fused_and_reshaped_weights_come_back(rule, build):
    state = build().state_dict()
    names = RULES[rule](state)
    back = from_original(names, to_original(names, state), {key: tensor.shape for key, tensor in state.items()})
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)


@pytest.mark.parametrize(
    ("markers", "metadata", "prediction", "zero"),
    [
        ({}, {}, "Epsilon", False),
        ({"v_pred": torch.zeros(1), "ztsnr": torch.zeros(1)}, {}, "Velocity", True),
        ({}, {"modelspec.prediction_type": "v"}, "Velocity", False),
    ],
)
def test_markers_tell_prediction_and_schedule(tiny, tmp_path, markers, metadata, prediction, zero):
    path = changed(tiny, tmp_path, lambda state: {**state, **markers}, metadata)
    denoiser = multidiff.load(path, "cpu").model.denoiser
    assert type(denoiser.prediction).__name__ == prediction
    assert (denoiser.schedule.alpha(torch.ones(())) == 0) == zero


@pytest.mark.parametrize(("spread", "stated"), [(1.0, "v_prediction"), (0.01, "epsilon")])
def test_a_bias_tells_what_stable_diffusion_2_predicts(spread, stated):
    state = {single_file.V_BIAS: torch.randn(99) * spread, "cond_stage_model.model.ln_final.bias": torch.zeros(1)}
    assert single_file._markers(state, {})["prediction_type"] == stated


def changed(tiny, tmp_path, change, metadata=None):
    path = tmp_path / "model.safetensors"
    save_file(change(load_file(tiny[1]["stable_diffusion_1"])), path, metadata)
    if not (tmp_path / "tokenizer").exists():
        (tmp_path / "tokenizer").symlink_to(tiny[1]["stable_diffusion_1"].parent / "tokenizer")
    return path


def without(prefix):
    return lambda state: {key: tensor for key, tensor in state.items() if not key.startswith(prefix)}


CONV = "model.diffusion_model.input_blocks.0.0.weight"
FAULTS = {
    "is of an unknown architecture: its keys begin with layers.0": lambda state: {
        "layers.0.attention.qkv.weight": torch.zeros(1)
    },
    "does not hold a AutoencoderKL: it lacks 124 weights: first_stage_model": without("first_stage_model"),
    f"it lacks 1 weights: {CONV}": without(CONV),
    "has 1 weights that do not belong to .*: model.diffusion_model.more": lambda state: {
        **state,
        "model.diffusion_model.more": torch.zeros(1),
    },
    f"has misshapen 1 weights: {CONV}": lambda state: {**state, CONV: torch.zeros(8, 4, 1, 1)},
    "has the type F8_E4M3": lambda state: {**state, CONV: state[CONV].to(torch.float8_e4m3fn)},
    "in_channels of the U-Net is 5": lambda state: {**state, CONV: torch.zeros(8, 5, 3, 3)},
}


@pytest.mark.parametrize("message", FAULTS)
def test_a_faulty_file_is_refused_in_one_line(tiny, tmp_path, message):
    path = changed(tiny, tmp_path, FAULTS[message])
    with pytest.raises(InputError, match=message) as refused:
        multidiff.load(path, "cpu")
    assert "\n" not in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_truncated_file_and_a_pickle_are_refused(tiny, tmp_path):
    content = tiny[1]["stable_diffusion_1"].read_bytes()
    for name, message in {
        "a.safetensors": "damaged or truncated",
        "a.ckpt": "is a pickle, which can run any code",
    }.items():
        (tmp_path / name).write_bytes(content[:-9])
        with pytest.raises(InputError, match=message):
            multidiff.load(tmp_path / name, "cpu")


def test_a_missing_tokenizer_is_one_line_and_a_package_has_one(tiny, tmp_path, monkeypatch):
    path = tmp_path / "alone.safetensors"
    path.symlink_to(tiny[1]["stable_diffusion_1"])
    with pytest.raises(InputError, match="needs the vocabulary of CLIP: copy tokenizer/ of any folder"):
        multidiff.load(path, "cpu")
    (tmp_path / vocabulary.MERGES).write_bytes(gzip.compress(b"version\nf o\nfo x</w>"))
    monkeypatch.setattr(vocabulary, "_packaged", lambda: tmp_path / vocabulary.MERGES)
    found = vocabulary.file_vocabulary(path, "!", 77)
    assert (found.start, found.end, found.padding, found.length) == (514, 515, 0, 77)
    assert found.tokenizer.encode("Fox", add_special_tokens=False).ids == [513]


def test_a_lora_of_it_trains(tiny, pictures, tmp_path):
    file = tiny[1]["stable_diffusion_xl"]
    tuned(file, pictures, tmp_path / "run", "trainer.max_steps=1", "optimizer.lr=0.1", "data.size=16")
    before, after = (multidiff.load(path, "cpu").model.denoiser.network for path in (file, tmp_path / "run"))
    name = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight"
    assert not torch.equal(before.state_dict()[name], after.state_dict()[name])
    with pytest.raises(
        InputError, match=r"is a single file, which supports tuning=lora alone: tuning=full needs a folder"
    ):
        tuned(file, pictures, tmp_path / "full", "tuning=full", "data.size=16")
