"""What is trained here with diffusers' U-Net, diffusers samples with equal results from the folder that is packed."""

import re
import sys
from itertools import pairwise

import diffusers
import pytest
import torch

import multidiff
from multidiff.errors import InputError
from multidiff.sampling.packing import pack_for_diffusers
from multidiff.training.run import build
from multidiff.training.train import train
from tests.cli.command import multidiff as command
from tests.pretrained.test_equal_to_diffusers import scheduler_of
from tests.tiny import fast_compose

STEPS, COUNT = 5, 3
TRAINING = (
    "loader.batch_size=4",
    "trainer.val_check_interval=1000",
    "trainer.max_steps=2",
    "callbacks.previews.every=0",
    "trainer.accelerator=cpu",
    "logger=[]",
)
TINY = (
    "experiment=image/digits",
    "backbone=unet_diffusers",
    "backbone.widths=[8,16]",
    "backbone.head_size=8",
    *TRAINING,
)
MODELS = {
    "plain": ("conditioning=none", "schedule=betas_linear", "prediction=epsilon"),
    "labelled": ("schedule=betas_scaled_linear", "schedule.zero_terminal_snr=true", "prediction=velocity"),
    "cosine": ("conditioning=none", "schedule=betas_cosine", "prediction=sample"),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name, overrides in MODELS.items():
        config = fast_compose([*TINY, *overrides])
        config.run_dir = str(folder / name)
        train(config)
        pack_for_diffusers(folder / name, folder / f"{name}_packed")
    return folder


def ours(run, **request):
    """A plan of the run in float64 on the timesteps of diffusers, and the noise that it starts from."""
    pipeline = multidiff.load(run, "cpu")
    pipeline.model.double()
    method, grid = {"_target_": "multidiff.diffusion.samplers.DDIM"}, {"_target_": "multidiff.diffusion.grids.Trailing"}
    pipeline.sampler = {"name": "compatible", "steps": STEPS, "method": method, "grid": grid}
    plan = pipeline.plan(COUNT, **request)
    sigma = pipeline.model.denoiser.schedule.sigma(plan.grid[0])
    return plan, plan.seeds.noise(range(COUNT), pipeline.noise).start() * sigma


def theirs(folder, monkeypatch):
    """The pipeline of diffusers that opens ``folder``, in float64."""
    pipeline = diffusers.DDIMPipeline.from_pretrained(folder, local_files_only=True).to(torch.float64)
    pipeline.set_progress_bar_config(disable=True)
    config = {name: value for name, value in pipeline.scheduler.config.items() if not name.startswith("_")}
    pipeline.scheduler = scheduler_of("DDIMScheduler", config, monkeypatch)
    return pipeline


@pytest.mark.parametrize("name", ["plain", "cosine"])
def test_the_pipeline_of_diffusers_gives_the_same_pictures(runs, name, monkeypatch):
    plan, noise = ours(runs / name)
    pipeline, made = theirs(runs / f"{name}_packed", monkeypatch), []
    monkeypatch.setattr(sys.modules[type(pipeline).__module__], "randn_tensor", lambda *_, **__: noise)
    step = pipeline.scheduler.step
    monkeypatch.setattr(pipeline.scheduler, "step", lambda *a, **k: made.append(step(*a, **k)) or made[-1])
    pictures = pipeline(COUNT, num_inference_steps=STEPS, output_type="pt").images
    x0 = plan.x0(range(COUNT))
    assert (x0 - made[-1].prev_sample).abs().max() < 1e-9
    assert torch.allclose((x0 / 2 + 0.5).clamp(0, 1), pictures, atol=1e-9)
    assert x0.std() > 0.1


def test_a_model_with_classes_is_sampled_as_its_card_says(runs, monkeypatch):
    folder = runs / "labelled_packed"
    plan, noise = ours(runs / "labelled", label=["1", "7", "0"], guidance=1.5)
    card = (folder / "README.md").read_text()
    code = re.search("```python\n(.*)```", card, re.DOTALL)[1].replace("[0]", "[1, 7, 0]")
    code = code.replace("set_timesteps(50)", f"set_timesteps({STEPS})")
    pipeline = theirs(folder, monkeypatch)
    monkeypatch.setattr(diffusers.DDIMPipeline, "from_pretrained", lambda _: pipeline)
    monkeypatch.setattr(torch, "randn", lambda *_: noise)
    values = {}
    exec(code, values)
    assert (plan.x0(range(COUNT)) - values["x"]).abs().max() < 1e-6  # the table of classes is in float32
    assert "Classes: 0 0, 1 1," in card
    assert len(values["images"]) == COUNT


def test_the_folder_opens_here_too(runs, tmp_path):
    again = multidiff.load(runs / "plain_packed", "cpu")
    again.model.double()
    plan, _ = ours(runs / "plain")
    assert torch.allclose(again.plan(COUNT, steps=STEPS).x0(range(COUNT)), plan.x0(range(COUNT)), atol=1e-9)
    with pytest.raises(InputError, match="labelled_packed/unet reads classes"):
        multidiff.load(runs / "labelled_packed", "cpu")


def test_ddpm_with_clipping_equals_that_of_diffusers(runs, tmp_path, monkeypatch):
    opened = diffusers.DDIMPipeline.from_pretrained(runs / "plain_packed", local_files_only=True)
    diffusers.DDPMPipeline(opened.unet, diffusers.DDPMScheduler()).save_pretrained(tmp_path / "ddpm")
    again = multidiff.load(tmp_path / "ddpm", "cpu")
    again.model.double()
    assert again.plan(1).sampler["steps"] == 1000
    plan = again.plan(COUNT, steps=STEPS)
    noise = plan.seeds.noise(range(COUNT), again.noise)
    sigma = again.model.denoiser.schedule.sigma(plan.grid[0])
    fresh = iter([noise.start() * sigma, *(noise.between(t, s) for t, s in pairwise(plan.grid))])
    scheduler = scheduler_of("DDPMScheduler", dict(diffusers.DDPMScheduler().config), monkeypatch)
    theirs = diffusers.DDPMPipeline(opened.unet.double(), scheduler)
    for module in (type(theirs), type(scheduler)):
        monkeypatch.setattr(sys.modules[module.__module__], "randn_tensor", lambda *_, **__: next(fresh))
    pictures = theirs(COUNT, num_inference_steps=STEPS, output_type="np").images
    x0 = plan.x0(range(COUNT)) / 2 + 0.5
    assert (x0.movedim(1, -1) - torch.as_tensor(pictures)).abs().max() < 1e-6


def test_what_diffusers_cannot_express_is_refused_in_a_line(runs, tmp_path):
    config = fast_compose([*TRAINING, "experiment=image/digits", "backbone.widths=[8,8]", "backbone.head_size=8"])
    config.run_dir = str(tmp_path / "other")
    train(config)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "kept.txt").touch()
    refused = {
        ("other", "out"): "the network UNet (train with backbone=unet_diffusers), the schedule Cosine (train with",
        (runs / "plain", "full"): "holds something other than a folder of diffusers",
    }
    for (source, out), message in refused.items():
        done = command("pack", source, "--out", out, "--format", "diffusers", cwd=tmp_path)
        assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)
        assert message in done.stderr


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["schedule=cosine"], "reads timesteps, which Cosine does not have: choose schedule=betas_linear"),
        (["backbone.head_size=3"], "widths with attention are multiples of head_size=3, got [16]"),
        (["backbone.widths=[8]"], "need a width and an attention of each stage"),
        (["schedule.count=-1"], "betas must be at least two numbers between 0 and 1"),
        (["schedule=betas_scaled_linear", "schedule.start=-1"], "betas must be at least two"),
    ],
    ids=str,
)
def test_a_setting_that_cannot_be_used_is_refused(overrides, message):
    config = fast_compose([*TINY, "schedule=betas_linear", *overrides])
    with pytest.raises(InputError, match=re.escape(message)):
        build(config)
