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
from multidiff.errors import InputError
from multidiff.sampling.editing import Redo
from multidiff.sampling.reproduce import reproduce_samples
from tests.pretrained import folders
from tests.pretrained.test_equal_to_diffusers import LEADING, NEGATIVE, PROMPTS, SCALE, STEPS, scheduler_of

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
    grid = ours.plan(1, prompt=PROMPTS, steps=STEPS).grid
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
