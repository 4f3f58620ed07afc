"""A pretrained pipeline that is trained further: it starts as it was, and what comes out is a LoRA for everyone."""

import copy
import json
import re
import shutil
from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers.utils.state_dict_utils import convert_state_dict_to_kohya
from PIL import Image
from safetensors.torch import load_file

import multidiff
from multidiff.configuration import compose, instantiate, load_option
from multidiff.diffusion.objectives import Context, Objective
from multidiff.errors import InputError
from multidiff.pretrained.families import FAMILIES
from multidiff.pretrained.keys import RULES, to_original
from multidiff.pretrained.networks import networks_of
from multidiff.pretrained.text import Tower
from multidiff.pretrained.tuning import Lora
from multidiff.sampling.lineage import licence_of
from multidiff.training.checkpoints import newest_checkpoint
from multidiff.training.datamodule import Stream
from multidiff.training.rehearsal import rehearsed
from multidiff.training.train import fit, train
from multidiff.training.tuning_run import build_tuning
from tests.cli.command import refused
from tests.pretrained import folders
from tests.pretrained.tuned import tuned, tuned_config
from tests.tiny import tiny_train, weights

CAPTIONS = [{"caption": "a fox"}, {"caption": None}]
LONGER = ("optimizer.lr=0.1", "tuning.alpha=3", "tuning.text_targets=[q_proj,k_proj,v_proj,out_proj]")
NOISY = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
TIMES = torch.tensor([0.3, 0.9])


def tuned_model(path):
    """The model of a pipeline with a LoRA that has not been trained."""
    tuning = Lora(path=str(path), rank=2, alpha=3.0, targets=["to_q", "to_v"])
    return tuning.tuned(tuning.open().model)


def objective(name):
    return instantiate(Objective, load_option("objective", name))


@torch.no_grad()
def output(model):
    return model.denoiser.output(NOISY, TIMES, model.condition(CAPTIONS))


@pytest.fixture(scope="module")
def runs(saved, saved_xl, pictures, tmp_path_factory):
    """Runs of both tiny pipelines, and their pipelines in diffusers."""
    folder, pipelines = tmp_path_factory.mktemp("runs"), {"sd": saved, "xl": saved_xl}
    for name, (pipeline, _) in pipelines.items():
        (pipeline / "README.md").write_text("---\nlicense: openrail++\n---\n")
        tuned(pipeline, pictures, folder / name, *LONGER, "trainer.max_steps=2")
    return {name: (folder / name, theirs) for name, (_, theirs) in pipelines.items()}


def test_training_starts_at_the_pipeline_and_its_update_is_the_dense_one(saved):
    plain, model = multidiff.load(saved[0], "cpu").model, tuned_model(saved[0])
    assert torch.equal(output(model), output(plain))
    for weight in (weight for weight in model.parameters() if weight.requires_grad):
        torch.nn.init.normal_(weight)
    for name, layer in plain.denoiser.network.named_modules():
        if name.endswith(("to_q", "to_v")):
            factors = model.denoiser.network.get_submodule(name)
            layer.weight.data += 1.5 * factors.lora_B["default"].weight @ factors.lora_A["default"].weight
    torch.testing.assert_close(output(model), output(plain), atol=1e-5, rtol=1e-4)


def test_the_loss_is_that_of_the_scripts_of_diffusers(saved):
    model, scheduler = tuned_model(saved[0]), saved[1].scheduler
    x0, noise, timesteps = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8), torch.tensor([100, 900])
    cond = model.condition(CAPTIONS)
    context = Context(model.denoiser, x0, cond, torch.Generator())
    theirs = saved[1].unet(scheduler.add_noise(x0, noise, timesteps), timesteps, cond.tokens).sample
    each = F.mse_loss(theirs, noise, reduction="none").mean((1, 2, 3))
    signal = scheduler.alphas_cumprod[timesteps]
    factors = {"denoising": 1.0, "min_snr": (5 * (1 - signal) / signal).clamp(max=1.0)}
    for name, factor in factors.items():
        loss = objective(name).at(context, (timesteps + 1) / 1000.0, noise)
        torch.testing.assert_close(loss, factor * each, atol=1e-5, rtol=1e-4)


def test_only_what_trains_is_copied_and_saved(saved, runs):
    model = tuned_model(saved[0])
    average = copy.deepcopy(model)
    pairs = zip(model.named_parameters(), average.parameters(), strict=True)
    assert all((own is other) != ("lora_" in name) for (name, own), other in pairs)
    checkpoint = torch.load(newest_checkpoint(runs["sd"][0] / "checkpoints"), weights_only=True)["state_dict"]
    assert {name for name in checkpoint if "lora_" not in name} == {"ema.updates"}
    with pytest.raises(RuntimeError, match="Missing key"):
        model.load_state_dict({})


@pytest.mark.slow
def test_an_interrupted_training_ends_with_the_same_weights(saved, runs, pictures, tmp_path):
    tuned(saved[0], pictures, tmp_path / "run", *LONGER, "trainer.max_steps=1")
    tuned(saved[0], pictures, tmp_path / "run", *LONGER, "trainer.max_steps=2", "resume=true")
    whole, parts = weights(runs["sd"][0]), weights(tmp_path / "run")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    with pytest.raises(InputError, match=r"was trained with tuning\.rank=16, now 3"):
        tuned(saved[0], pictures, tmp_path / "run", *LONGER, "tuning.rank=3", "resume=true")


def test_what_was_trained_has_the_licence_of_the_pipeline(runs):
    assert licence_of(runs["sd"][0] / "model") == "openrail++"


@pytest.mark.parametrize("name", ["sd", "xl"])
def test_diffusers_loads_both_files_with_the_same_output(runs, name):
    run, pipeline = runs[name]
    model = multidiff.load(run, "cpu").model
    cond, timesteps = model.condition([{"caption": "a fox"}] * 2), model.denoiser.schedule.timestep(TIMES)
    sizes = torch.tensor([[16.0, 16, 0, 0, 16, 16]] * 2)
    for file in ("model.safetensors", "kohya/lora.safetensors"):
        parts = {part: copy.deepcopy(pipeline.components[part]) for part in networks_of(model)}
        theirs, path = type(pipeline)(**{**pipeline.components, **parts}), run / "model" / file
        request = {"prompt": "a fox", "device": "cpu", "num_images_per_prompt": 1, "do_classifier_free_guidance": False}
        before = theirs.encode_prompt(**request)[0]
        theirs.load_lora_weights(path.parent)  # as the docs say: the folder has one file
        tokens, _, *pooled = theirs.encode_prompt(**request)
        assert not torch.allclose(tokens, before, atol=1e-3)
        further = {"text_embeds": pooled[0].expand(2, -1), "time_ids": sizes} if pooled else None
        with torch.no_grad():
            expected = theirs.unet(NOISY, timesteps, tokens.expand(2, -1, -1), added_cond_kwargs=further).sample
            found = model.denoiser.output(NOISY, TIMES, cond)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


TRANSFORMERS = {"sd3": folders.stable_diffusion_3, "flux": partial(folders.flux, distilled=True)}
SPECIAL = "to_q,to_v,to_out.0,add_k_proj,norm_out.linear,norm1_context.linear"
"""Among them parts of fused layers, and layers whose halves the original code swaps."""


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers_train_too_and_all_files_hold_the_same_weights(name, pictures, tmp_path):
    theirs = TRANSFORMERS[name](tmp_path / "base")
    changes = ("objective=flow", "data.size=16", "trainer.max_steps=1", "optimizer.lr=0.1", "tuning.alpha=3")
    run = tuned(tmp_path / "base", pictures, tmp_path / "run", *changes, f"tuning.targets=[{SPECIAL}]").run_dir
    theirs.load_lora_weights(run / "model", weight_name="model.safetensors", local_files_only=True)
    theirs.fuse_lora()
    theirs.unload_lora_weights()
    expected, kohya = theirs.transformer.state_dict(), str(run / "model" / "kohya" / "lora.safetensors")
    for pipeline in (multidiff.load(run, "cpu"), multidiff.load(tmp_path / "base", "cpu", {kohya: 1.0})):
        for key, weight in pipeline.model.denoiser.network.state_dict().items():
            torch.testing.assert_close(weight, expected[key], atol=1e-6, rtol=1e-5)
    block = "joint_blocks_0_x_block_attn_qkv" if name == "sd3" else "single_blocks_0_linear1"
    keys = load_file(kohya).keys()
    assert f"lora_unet_{block}.lora_down.weight" in keys
    original = {key.replace(".", "_") for key in to_original(RULES[name](expected), expected)}
    assert {key.partition(".")[0].removeprefix("lora_unet_") + "_weight" for key in keys} <= original


def test_diffusers_loads_kohyas_layout_of_flux(pictures, tmp_path):
    theirs = folders.flux(tmp_path / "base", distilled=True)
    layers = [f"transformer_blocks.0.attn.{layer}" for layer in ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj")]
    changes = ("objective=flow", "data.size=16", "trainer.max_steps=1", "optimizer.lr=0.1", "tuning.alpha=3")
    tuned(tmp_path / "base", pictures, tmp_path / "run", *changes, f"tuning.targets=[{','.join(layers)}]")
    theirs.load_lora_weights(tmp_path / "run" / "model" / "kohya", local_files_only=True)
    theirs.fuse_lora()
    theirs.unload_lora_weights()
    expected = theirs.transformer.state_dict()
    for key, weight in multidiff.load(tmp_path / "run", "cpu").model.denoiser.network.state_dict().items():
        torch.testing.assert_close(weight, expected[key], atol=1e-6, rtol=1e-5)


def test_the_names_of_kohya_are_those_that_diffusers_gives_them(runs):
    files = {name: load_file(run / "model" / "kohya" / "lora.safetensors") for name, (run, _) in runs.items()}
    layers = {name: {key.partition(".")[0] for key in state} for name, state in files.items()}
    ours = load_file(runs["sd"][0] / "model" / "model.safetensors")
    unet = {key.removeprefix("unet."): value for key, value in ours.items() if key.startswith("unet.")}
    theirs = {f"lora_unet_{key}" for key in convert_state_dict_to_kohya(unet) if not key.endswith("alpha")}
    text = {key for key in files["sd"] if key.startswith("lora_te_text_model_encoder_layers_")}
    assert {key for key in files["sd"] if not key.endswith(".alpha")} - text == theirs
    assert "lora_te_text_model_encoder_layers_0_self_attn_q_proj" in layers["sd"]
    assert "lora_unet_input_blocks_3_1_transformer_blocks_0_attn1_to_q" in layers["xl"]
    names = r"lora_(unet_(input_blocks|middle_block|output_blocks)|te[12]_text_model_encoder_layers)_\d.*"
    assert all(re.fullmatch(names, layer) for layer in layers["xl"])


@pytest.mark.slow
def test_a_few_steps_lower_the_loss(saved, pictures, tmp_path):
    changes = ("trainer.max_steps=25", "optimizer.lr=0.03", "warmup_steps=0", "ema.std=0.05", "loader.batch_size=4")
    tuned(saved[0], pictures, tmp_path, *changes)
    generator, losses = torch.Generator().manual_seed(0), []
    noise, times = torch.randn(60, 4, 8, 8, generator=generator), torch.rand(60, generator=generator)
    for path in (saved[0], tmp_path):
        pipeline = multidiff.load(path, "cpu")
        data = [pipeline.modality.to_data(Image.open(pictures / f"{i}.png").crop((0, 2, 16, 18))) for i in (1, 2, 3)]
        cond = pipeline.model.condition([{"caption": f"fox {i}"} for i in (1, 2, 3)] * 20)
        x0 = pipeline.model.encode(torch.stack(data)).repeat(20, 1, 1, 1)
        context = Context(pipeline.model.denoiser, x0, cond, generator)
        with torch.no_grad():
            losses.append(objective("denoising").at(context, times, noise).mean())
    assert losses[1] < 0.99 * losses[0]


def test_gradient_checkpointing_changes_no_gradient(saved):
    found = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        tuning = Lora(path=str(saved[0]), rank=2, alpha=3.0, targets=["to_q"], gradient_checkpointing=checkpointing)
        model = tuning.tuned(tuning.open().model).train()
        model.denoiser.output(NOISY, TIMES, model.condition(CAPTIONS)).square().mean().backward()
        found.append([weight.grad for weight in model.parameters() if weight.requires_grad])
    for plain, again in zip(*found, strict=True):
        torch.testing.assert_close(again, plain)


def test_all_weights_are_saved_as_a_folder_of_diffusers(saved, pictures, tmp_path):
    tuned(saved[0], pictures, tmp_path, "tuning=full", "trainer.max_steps=1", "optimizer.lr=0.01")
    theirs = type(saved[1]).from_pretrained(tmp_path / "model", local_files_only=True)
    model = multidiff.load(tmp_path, "cpu").model
    with torch.no_grad():
        timesteps = model.denoiser.schedule.timestep(TIMES)
        expected = theirs.unet(NOISY, timesteps, model.condition(CAPTIONS).tokens).sample
    torch.testing.assert_close(output(model), expected, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(expected, output(multidiff.load(saved[0], "cpu").model), atol=1e-3)


def test_texts_are_encoded_once_and_equal(saved, monkeypatch, tmp_path):
    monkeypatch.setenv("MULTIDIFF_CACHE", str(tmp_path))
    plain, model = multidiff.load(saved[0], "cpu").model, tuned_model(saved[0])
    captions = [*CAPTIONS, {"caption": "a long caption of more than sixteen letters"}]
    conditions = [each.condition(captions) for each in (plain, model, model)]
    monkeypatch.setattr(Tower, "_computed", None)
    conditions.append(model.condition(captions))
    assert all(torch.equal(each.tokens, conditions[0].tokens) for each in conditions)


@pytest.mark.slow
def test_a_rehearsal_tells_what_trains(saved, pictures, tmp_path):
    lines = list(rehearsed(tuned_config(saved[0], pictures, tmp_path / "run")))
    assert any(re.match(r"model +0.016\d*M parameters", line) for line in lines)
    assert "for 1,500 steps, without" in lines[-1]
    assert not any(line.startswith("problem") for line in lines)  # few pictures are what it is for


def test_pictures_without_a_caption_have_the_given_one(saved, pictures, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(pictures, bare, ignore=shutil.ignore_patterns("*.txt"))
    with pytest.raises(InputError, match="no picture has a caption: put NAME"):
        tuned(saved[0], bare, tmp_path / "run")
    config = tuned_config(saved[0], bare, tmp_path / "run")
    config.caption = "sks fox"
    run = build_tuning(config)
    assert run.samples == [{"caption": "sks fox"}] * 4


def test_pictures_of_what_the_pipeline_knows_have_their_share(saved, pictures, tmp_path):
    known = tmp_path / "known"
    known.mkdir()
    for i in range(9):
        Image.new("RGB", (16, 16), (20 * i, 90, 0)).save(known / f"{i}.png")
    changes = (f"prior.root={known}", "trainer.max_steps=1")
    with pytest.raises(InputError, match=r"give prior\.caption='a photo of"):
        tuned(saved[0], pictures, tmp_path / "run", *changes)
    config = tuned_config(saved[0], pictures, tmp_path / "run", *changes)
    config.prior.caption = "a fox"
    run = build_tuning(config)
    stream = Stream(run.datamodule.dataset, range(13), seed=0)
    captions = Counter(stream[i]["fields"]["caption"] for i in range(stream.length))
    assert captions["a fox"] == captions.total() / 2
    assert captions["fox 1"] == captions.total() / 8
    fit(run, quiet=True)


def test_pictures_keep_their_aspect_ratio(saved, pictures, tmp_path):
    folder = shutil.copytree(pictures, tmp_path / "pictures")
    for i, size in enumerate([(40, 20), (20, 40), (41, 20), (30, 30)]):
        Image.new("RGB", size, (60 * i, 90, 0)).save(folder / f"{i + 4}.png")
        (folder / f"{i + 4}.txt").write_text("fox")
    changes = (
        "data.buckets=4",
        "data.size=16",
        "loader.batch_size=2",
        "trainer.max_steps=4",
        "trainer.val_check_interval=2",
    )
    run = build_tuning(tuned_config(saved[0], folder, tmp_path / "run", *changes, "loader.holdout=0.3"))
    shapes = {tuple(run.datamodule.dataset.data(i, np.random.default_rng(0)).shape) for i in range(len(run.dataset))}
    assert shapes == {(4, 8, 8), (4, 10, 8), (4, 6, 12), (4, 12, 6)}
    fit(run, quiet=True)
    with pytest.raises(InputError, match=r"multiples of 2, and 3 x 15 x 15"):
        tuned(saved[0], folder, tmp_path / "odd", *changes, "data.buckets=5")
    with pytest.raises(InputError, match="only pretrained pipelines train on pictures of several shapes"):
        train(compose(["experiment=image/folder", f"data.root={folder}", "data.size=16", "data.buckets=4"]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["tuning.path=/nowhere"], "there is no pretrained pipeline at /nowhere"),
        (["tuning.rank=0"], "tuning.rank is at least 1"),
        (["tuning.targets=[to_x]"], "no layer of this network ends in to_x; there are .*to_q"),
        (["tuning.dropout=2"], "tuning.dropout is a probability"),
        (["tuning.sha256=a12"], "but a12 was trained"),
        (["schedule=cosine"], "has its own schedule"),
        (["objective=mean_flow"], "trains a network with the input second_time"),
        (["prior.root=/nowhere"], "set prior.root to one that exists"),
        (["data.size=15"], "sides are multiples of 2, and 3 x 15 x 15"),
    ],
)
def test_what_cannot_be_trained_is_refused(saved, pictures, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        tuned(saved[0], pictures, tmp_path / "run", *changes)


def test_commands_for_other_models_say_that_it_is_a_lora(runs, tmp_path):
    with pytest.raises(InputError, match=r"make them equal|set the student's codec"):
        tiny_train(tmp_path / "run", f"teacher={runs['sd'][0]}", "objective=distillation")


def test_a_missing_pipeline_is_named_when_sampling(runs, saved, tmp_path):
    run = shutil.copytree(runs["sd"][0], tmp_path / "run")
    config = run / "model" / "config.yaml"
    config.write_text(config.read_text().replace(str(saved[0]), str(tmp_path / "gone")))
    with pytest.raises(
        InputError, match=r"config.yaml: there is no pretrained pipeline at .*gone.*--lora .*model.safetensors"
    ):
        multidiff.load(run)


def test_the_command_names_what_is_missing_in_one_line(pictures, tmp_path):
    given = ("train", "experiment=image/lora", f"data.root={pictures}", "run_dir=run")
    refused(*given, cwd=tmp_path, saying="pretrained must be given: pretrained=VALUE")
    for name, family in FAMILIES.items():
        if not family.trains:
            for part in family.parts:
                (tmp_path / name / part).mkdir(parents=True)
            (tmp_path / name / "model_index.json").write_text(json.dumps({"_class_name": name}))
            said = f"{name} is a {name}, which cannot be trained further; supported: StableDiffusionPipeline, "
            refused(*given, f"pretrained={name}", "tuning=full", cwd=tmp_path, saying=said)
    assert not FAMILIES["StableAudioPipeline"].trains
    refused(*given, "pretrained=gone", "caption=a, b (c)", cwd=tmp_path, saying="no pretrained pipeline at gone")
