"""A folder of diffusers is an ordinary pipeline: sampled, recorded, reproduced; a faulty one is refused in a line."""

import copy
import json
import math
import shutil

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file

import multidiff
from multidiff.cli import options
from multidiff.cli.sample import run
from multidiff.codecs import base
from multidiff.errors import InputError
from multidiff.pretrained.libraries import library
from multidiff.sampling.reproduce import reproduce_samples
from multidiff.sampling.samples import read_record
from tests.pretrained import folders


def change(path, **settings):
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


def test_every_weight_is_used(saved):
    folder, theirs = saved
    ours = multidiff.load(folder, "cpu").model
    pairs = [
        (ours.denoiser.network, theirs.unet),
        (ours.codec.network, theirs.vae),
        (ours.conditioner.parts["caption"].towers[0].encoder.module, theirs.text_encoder),
    ]
    for network, original in pairs:
        own, expected = network.state_dict(), original.state_dict()
        assert own.keys() == expected.keys()
        assert all(torch.equal(own[key], expected[key].float()) for key in own)


def test_samples_are_recorded_and_reproduced(saved, tmp_path):
    settings = {"prompt": ["a fox", "an owl"], "negative": "blur", "guidance": 2.0, "steps": 2}
    run(str(saved[0]), tmp_path / "out", 2, settings)
    record = read_record(tmp_path / "out")
    assert record.plan["guidance"]["negative"] == {"caption": "blur"}
    assert [entry["fields"] for entry in record.files] == [{"caption": "a fox"}, {"caption": "an owl"}]
    assert reproduce_samples(tmp_path / "out").equal
    assert reproduce_samples(tmp_path / "out" / "00001.png", model=saved[0]).equal


def test_another_model_reproduces_nothing(saved, folder, tmp_path):
    run(str(saved[0]), tmp_path / "out", 1, {"prompt": ["a fox"], "steps": 1})
    change(folder / "scheduler" / "scheduler_config.json", beta_end=0.013)
    with pytest.raises(InputError, match="have the hash"):
        reproduce_samples(tmp_path / "out", model=folder)


def test_a_sample_does_not_depend_on_its_batch(saved):
    pipeline = multidiff.load(saved[0], "cpu")
    pipeline.model.double()
    settings = {"prompt": ["a fox", "an owl", "a bear"], "steps": 2}
    together = pipeline.plan(3, **settings).x0(range(3))
    alone = pipeline.plan(3, **settings).x0(range(1, 2))
    assert torch.allclose(together[1:2], alone, atol=1e-9)


def test_a_batch_is_as_large_as_its_pictures_allow_and_so_is_what_is_decoded_at_once(saved, monkeypatch):
    pipeline = multidiff.load(saved[0], "cpu")
    pipeline.model.double()
    settings, x0 = {"prompt": "a fox", "steps": 1}, torch.randn(5, *pipeline.shape, dtype=torch.float64)
    together = pipeline.model.decode(x0)
    assert [len(rows) for rows in pipeline.plan(5, **settings).batches] == [5]
    monkeypatch.setattr(base, "LARGEST", 2 * math.prod(pipeline.data_shape))
    plan, decode, counts = pipeline.plan(5, **settings), pipeline.model.codec.decode, []
    assert [len(rows) for rows in plan.batches] == [2, 2, 1]
    assert (plan.record()["batch_size"], pipeline.plan(5, batch_size=4, **settings).batch_size) == (2, 4)
    assert pipeline.plan(5, fields={"height": 32, "width": 32}, **settings).batch_size == 1
    monkeypatch.setattr(pipeline.model.codec, "decode", lambda x: counts.append(len(x)) or decode(x))
    assert torch.allclose(pipeline.model.decode(x0), together, atol=1e-9)
    assert counts == [2, 2, 1]


def test_few_samples_are_made_by_default(saved, tmp_path):
    run(str(saved[0]), tmp_path / "out", None, {"prompt": ["a fox"], "steps": 1})
    assert len(read_record(tmp_path / "out").files) == options.LARGE


def test_a_long_prompt_is_read_in_chunks_and_a_short_one_beside_it_is_unchanged(saved):
    pipeline = multidiff.load(saved[0], "cpu")
    pipeline.model.double()
    long = "a fox knight in golden armor"
    plan = pipeline.plan(2, prompt=["a fox", long], steps=1, guidance=1.0)
    assert plan.conditions()(plan.fields(range(2))).tokens.shape[1] == 2 * folders.LENGTH
    together = plan.x0(range(2))
    alone = pipeline.plan(1, prompt="a fox", steps=1, guidance=1.0).x0(range(1))
    assert torch.allclose(together[:1], alone, atol=1e-6)
    assert pipeline.model.conditioner.remarks([{"caption": long}]) == [
        "1 prompts of more than 14 tokens are split into up to 2 chunks"
    ]


def test_weights_move_tokens_along_the_line_from_the_empty_text(saved):
    part = multidiff.load(saved[0], "cpu").model.conditioner.parts["caption"]
    plain, twice, none, empty = (part.prompted([text]).tokens for text in ("a fox", "(a fox:2)", "(a fox:0)", ""))
    words = slice(1, 5)  # a, f, o, x
    assert torch.allclose(twice[:, words] - empty[:, words], 2 * (plain - empty)[:, words], atol=1e-5)
    assert torch.allclose(none[:, words], empty[:, words], atol=1e-6)
    assert torch.equal(part.prompted(["a fox"]).tokens, part(["a fox"]).tokens)


def test_other_sizes(saved):
    pipeline = multidiff.load(saved[0], "cpu")
    (image,) = pipeline.sample(1, prompt="a fox", steps=1, fields={"height": 24, "width": 32})
    assert image.size == (32, 24)
    with pytest.raises(InputError, match="multiples of 2"):
        pipeline.plan(1, prompt="a fox", fields={"width": 31})


def test_samplers_with_continuous_times(saved):
    pipeline = multidiff.load(saved[0], "cpu")
    for sampler in ("dpmpp_2m", "unipc_3", "heun", "dpmpp_2s_a"):
        (x0,) = pipeline.plan(1, prompt="a fox", sampler=sampler, steps=3).x0(range(1))
        assert x0.isfinite().all()


def test_half_precision_weights_and_shards_open(saved, tmp_path):
    theirs = copy.deepcopy(saved[1]).to(torch.float32)
    theirs.unet.save_pretrained(tmp_path / "whole")
    folder = shutil.copytree(saved[0], tmp_path / "sd")
    shutil.rmtree(folder / "unet")
    theirs.unet.save_pretrained(folder / "unet", max_shard_size="30KB")
    assert len([*(folder / "unet").glob("*.safetensors")]) > 1
    assert multidiff.load(folder, "cpu")
    shutil.rmtree(folder / "unet")
    theirs.unet.half().save_pretrained(folder / "unet", variant="fp16", max_shard_size="30KB")
    half = multidiff.load(folder, "cpu").model.denoiser.network
    whole = load_file(tmp_path / "whole" / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(tensor, whole[key].half().float()) for key, tensor in half.state_dict().items())
    theirs.unet.float()


def test_links_to_files_elsewhere_are_followed_as_in_the_cache_of_the_hub(saved, folder, tmp_path):
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        blob = tmp_path / "blobs" / path.relative_to(folder).as_posix().replace("/", "_")
        blob.parent.mkdir(exist_ok=True)
        path.rename(blob)
        path.symlink_to(blob)
    assert multidiff.load(folder, "cpu").sha256 == multidiff.load(saved[0], "cpu").sha256


def test_an_autoencoder_that_overflows_is_computed_in_float32_and_says_so_once(saved, caplog):
    codec = multidiff.load(saved[0], "cpu").model.codec.to(torch.float16)
    z = torch.full((1, 4, 4, 4), 6e4, dtype=torch.float16)
    assert codec.decode(z).dtype == torch.float16
    assert codec.network.dtype == torch.float32
    codec.decode(z)
    assert len([line for line in caplog.messages if "float32 from now on" in line]) == 1


def test_a_tiny_autoencoder_opens(saved, folder):
    blocks = {"encoder_block_out_channels": (8, 8), "decoder_block_out_channels": (8, 8)}
    counts = {"num_encoder_blocks": (1, 1), "num_decoder_blocks": (1, 1)}
    theirs = diffusers.AutoencoderTiny(**blocks, **counts)
    shutil.rmtree(folder / "vae")
    theirs.save_pretrained(folder / "vae")
    change(folder / "model_index.json", vae=["diffusers", "AutoencoderTiny"])
    codec = multidiff.load(folder, "cpu").model.codec
    data, z = torch.rand(1, 3, 12, 8) * 2 - 1, torch.randn(1, 4, 6, 4)
    with torch.no_grad():
        assert torch.equal(codec.encode(data), theirs.encode(data).latents)
        assert torch.equal(codec.decode(z), theirs.decode(z).sample)
    assert codec.shape((3, 12, 8)) == (4, 6, 4)


def test_a_missing_library_is_named_with_the_way_to_install_it():
    with pytest.raises(InputError, match=r"need no_such_library: pip install 'multidiff-toolkit\[pretrained\]'"):
        library("no_such_library")


def remove_unet(folder):
    shutil.rmtree(folder / "unet")


def remove_weights(folder):
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()


def leave_a_pickle(folder):
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    path.rename(path.with_suffix(".bin"))


def truncate(folder):
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])


def truncate_a_text_encoder(folder):
    path = folder / "text_encoder" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-7])


def remove_a_shard(folder):
    index = {"metadata": {}, "weight_map": {"conv_in.weight": "a.safetensors"}}
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    (folder / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))


def lead_out_of_the_folder(folder):
    index = {"metadata": {}, "weight_map": {"conv_in.weight": "../vae/diffusion_pytorch_model.safetensors"}}
    (folder / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))


def empty_the_tokenizer(folder):
    for path in (folder / "tokenizer").iterdir():
        path.unlink()


def damage_the_tokenizer(folder):
    for path in (folder / "tokenizer").iterdir():
        path.write_text("{}")


def quantise(folder):
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    save_file({**state, "conv_in.weight": state["conv_in.weight"].to(torch.float8_e4m3fn)}, path)


def drop_a_weight(folder):
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    del state["conv_in.weight"]
    save_file(state, path)


def add_a_weight(folder):
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    save_file({**load_file(path), "more.weight": torch.zeros(1)}, path)


def name_a_foreign_class(folder):
    change(folder / "model_index.json", unet=["os", "system"])


def name_another_pipeline(folder):
    change(folder / "model_index.json", _class_name="WuerstchenPipeline")


def name_odd_betas(folder):
    change(folder / "scheduler" / "scheduler_config.json", beta_schedule="sigmoid")


def clip(folder):
    change(folder / "scheduler" / "scheduler_config.json", clip_sample=True)


def widen_the_latents(folder):
    change(folder / "unet" / "config.json", in_channels=5)


def take_a_network_of_other_channels(folder):
    shutil.rmtree(folder / "unet")
    folders.unet(channels=7).save_pretrained(folder / "unet")


FAULTS = {
    remove_unet: "an incomplete StableDiffusionPipeline: unet/ missing",
    remove_weights: "vae/ holds no weights: diffusion_pytorch_model.safetensors is missing",
    leave_a_pickle: "diffusion_pytorch_model.bin is a pickle, which can run any code",
    truncate: "diffusion_pytorch_model.safetensors is damaged or truncated",
    truncate_a_text_encoder: "model.safetensors is damaged or truncated",
    remove_a_shard: "lacks a.safetensors, which diffusion_pytorch_model.safetensors.index.json names",
    lead_out_of_the_folder: "is damaged: it has no weight_map of files beside it",
    empty_the_tokenizer: r"tokenizer/ is missing: it holds the vocabulary .*vocab.json and merges.txt",
    damage_the_tokenizer: "tokenizer/ holds no tokenizer",
    quantise: "conv_in.weight has the type F8_E4M3",
    drop_a_weight: r"lacks weights \(conv_in.weight\)",
    add_a_weight: r"has unknown weights \(more.weight\)",
    name_a_foreign_class: r"unet is a \['os', 'system'\]; supported: UNet2DConditionModel",
    name_another_pipeline: "describes a WuerstchenPipeline; supported: StableDiffusionPipeline",
    name_odd_betas: "scheduler_config.json: beta_schedule is scaled_linear, linear or squaredcos_cap_v2, got 'sigmoid'",
    clip: "scheduler_config.json: clip_sample is not supported",
    take_a_network_of_other_channels: "in_channels of the U-Net is 7, but the latents of the autoencoder have 4",
    widen_the_latents: "cannot be opened as a UNet2DConditionModel: .*conv_in.weight expected shape",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_faulty_folder_is_refused_in_one_line(folder, fault):
    fault(folder)
    with pytest.raises(InputError, match=FAULTS[fault]) as refused:
        multidiff.load(folder, "cpu")
    assert "\n" not in str(refused.value)
    assert str(folder) in str(refused.value)
