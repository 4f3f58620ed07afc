"""Inpainting equals that of diffusers: by blending with four channels, and with a network that sees the mask."""

import copy
import shutil
import sys

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

import multidiff
from multidiff.cli.sample import run
from multidiff.diffusion.objectives import Context
from multidiff.errors import InputError
from multidiff.sampling.editing import Redo
from multidiff.sampling.reproduce import reproduce_samples
from multidiff.training.masks import random_masks
from multidiff.training.train import fit
from multidiff.training.tuning_run import build_tuning
from tests.pretrained import folders
from tests.pretrained.test_equal_to_diffusers import LEADING, NEGATIVE, PROMPTS, SCALE, STEPS, scheduler_of
from tests.pretrained.tuned import tuned_config

SIZE = 16


@pytest.fixture(scope="module")
def inpainting(saved, tmp_path_factory):
    """A folder with a network of nine channels, and its pipeline."""
    folder = shutil.copytree(saved[0], tmp_path_factory.mktemp("inpainting") / "sd")
    shutil.rmtree(folder / "unet")
    torch.manual_seed(1)
    network = folders.unet(channels=9)
    network.save_pretrained(folder / "unet")
    index = (folder / "model_index.json").read_text()
    (folder / "model_index.json").write_text(index.replace("StableDiffusionPipeline", "StableDiffusionInpaintPipeline"))
    return folder, diffusers.StableDiffusionInpaintPipeline(
        **{**saved[1].components, "unet": network}, requires_safety_checker=False
    )


@pytest.fixture
def picture():
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8))


@pytest.fixture
def mask():
    """The right half, in multiples of a position of the latents."""
    mask = np.zeros((SIZE, SIZE), dtype=np.uint8)
    mask[2:, 6:] = 255
    return Image.fromarray(mask)


@pytest.mark.parametrize(
    ("name", "channels", "steps_left"),
    [
        ("DDIMScheduler", 4, 3),
        ("EulerDiscreteScheduler", 4, 3),
        ("UniPCMultistepScheduler", 4, 2),
        ("DDIMScheduler", 9, 4),
        ("DDIMScheduler", 9, 3),
        ("EulerDiscreteScheduler", 9, 4),
    ],
)
def test_latents_equal_those_of_diffusers(
    saved, inpainting, picture, mask, monkeypatch, tmp_path, name, channels, steps_left
):
    source, pipeline = (saved[0], saved[1]) if channels == 4 else inpainting
    folder = shutil.copytree(source, tmp_path / "sd")
    scheduler = scheduler_of(name, LEADING, monkeypatch)
    scheduler.save_pretrained(folder / "scheduler")
    ours = multidiff.load(folder, "cpu")
    ours.model.double()
    grid = ours.plan(2, prompt=PROMPTS, steps=STEPS).grid
    strength = float(grid[STEPS - steps_left] / grid[0])
    request = {"prompt": PROMPTS, "negative": NEGATIVE, "guidance": SCALE, "steps": STEPS}
    plan = ours.plan(2, edit=Redo(picture, (mask,), repeats=1, strength=strength), **request)
    schedule, noise = ours.model.denoiser.schedule, plan.seeds.noise(range(2), ours.noise).start()
    theirs = diffusers.StableDiffusionInpaintPipeline(
        **{**copy.deepcopy(pipeline).to(torch.float64).components, "scheduler": scheduler},
        requires_safety_checker=False,
    )
    theirs.set_progress_bar_config(disable=True)
    if name == "EulerDiscreteScheduler" and strength == 1:  # its x is divided by alpha
        scheduler.set_timesteps(STEPS)
        start = noise * (schedule.sigma(grid[0]) / schedule.alpha(grid[0]) / scheduler.init_noise_sigma)
    else:
        start = noise if strength < 1 or name != "DDIMScheduler" else noise * schedule.sigma(grid[0])
    module = sys.modules[diffusers.StableDiffusionInpaintPipeline.__module__]
    monkeypatch.setattr(module, "randn_tensor", lambda *_, **__: start)
    monkeypatch.setattr(module, "retrieve_latents", lambda encoded, **_: encoded.latent_dist.mode())
    made = theirs(
        PROMPTS, image=picture, mask_image=mask, negative_prompt=[NEGATIVE] * 2, strength=steps_left / STEPS,
        num_inference_steps=STEPS, guidance_scale=SCALE, output_type="latent", height=SIZE, width=SIZE,
    )  # fmt: skip
    assert (plan.x0(range(2)) - made.images).abs().max() < 1e-6


def test_without_a_mask_a_network_for_inpainting_regenerates_everything(inpainting, picture):
    ours = multidiff.load(inpainting[0], "cpu")
    plain = ours.plan(1, prompt="a fox", steps=1).x0(range(1))
    everything = Image.new("L", (SIZE, SIZE), 255)
    masked = ours.plan(1, prompt="a fox", steps=1, edit=Redo(picture, (everything,))).x0(range(1))
    assert torch.equal(plain, masked)
    assert ours.sample(1, prompt="a fox", steps=1, fields={"height": 24})[0].size == (SIZE, 24)


def test_masks_are_rectangles_ellipses_and_everything():
    masks = random_masks(torch.empty(2000, 3, 24, 16), torch.Generator().manual_seed(0))
    areas, whole = masks.float().mean((1, 2, 3)), masks.all(dim=(1, 2, 3))
    assert masks.shape == (2000, 1, 24, 16)
    assert 0.2 < whole.float().mean() < 0.3
    assert areas[~whole].mean() == pytest.approx((1 + np.pi / 4) / 8, abs=0.02)  # of half the mean of both sides
    filled = torch.stack([mask.any(-1).sum() * mask.any(-2).sum() for mask in masks[~whole]]) / (24 * 16)
    rectangles = (filled - areas[~whole]).abs() < 1e-6
    assert 0.45 < rectangles.float().mean() < 0.65


def test_a_lora_for_inpainting_trains_on_random_masks(inpainting, pictures, tmp_path):
    changes = ("data.size=16", "trainer.max_steps=2", "optimizer.lr=0.1")
    run = build_tuning(tuned_config(inpainting[0], pictures, tmp_path / "run", *changes))
    inputs = []
    run.module.model.denoiser.network.register_forward_pre_hook(lambda _, given: inputs.append(given[0].detach()))
    batch = {"data": torch.rand(8, 3, SIZE, SIZE) * 2 - 1, "fields": [{"caption": "fox"}] * 8}
    x0, denoiser = run.module._seen(batch, run.module.model.denoiser, torch.Generator().manual_seed(3))
    cond = run.module.model.condition(batch["fields"])
    run.module.objective(Context(denoiser, x0, cond, torch.Generator()))
    masks = random_masks(batch["data"], torch.Generator().manual_seed(3))
    known = (
        inpainting[1].vae.encode(batch["data"] * ~masks).latent_dist.mode() * inpainting[1].vae.config.scaling_factor
    )
    torch.testing.assert_close(inputs[0][:, 5:], known, atol=1e-5, rtol=1e-4)
    assert torch.equal(inputs[0][:, 4:5], torch.nn.functional.max_pool2d(masks.float(), 2))
    fit(run, quiet=True)
    before, after = (multidiff.load(path, "cpu") for path in (inpainting[0], tmp_path / "run"))
    plans = [each.plan(1, prompt="a fox", steps=1, fields={"height": 16, "width": 16}) for each in (before, after)]
    assert not torch.equal(*(plan.x0(range(1)) for plan in plans))
    with pytest.raises(InputError, match="a network for inpainting trains by denoising"):
        build_tuning(tuned_config(inpainting[0], pictures, tmp_path / "other", *changes, "objective=consistency"))


@pytest.mark.parametrize("channels", [4, 9])
def test_mask_and_strength_are_recorded_and_reproduced(saved, inpainting, picture, mask, tmp_path, channels):
    folder = saved[0] if channels == 4 else inpainting[0]
    picture.save(tmp_path / "picture.png")
    mask.save(tmp_path / "mask.png")
    edits = {"mask": str(tmp_path / "mask.png"), "strength": 0.5, "extend": None}
    request = {"prompt": ["a fox"], "steps": 2}
    run(str(folder), tmp_path / "out", 1, request, init=tmp_path / "picture.png", edits=edits)
    files = {"init": tmp_path / "picture.png", "mask": tmp_path / "mask.png"}
    assert reproduce_samples(tmp_path / "out", **files).equal
    with pytest.raises(InputError, match="strength must be above 0"):
        run(str(folder), tmp_path / "other", 1, request, init=files["init"], edits={**edits, "strength": 0.0})
