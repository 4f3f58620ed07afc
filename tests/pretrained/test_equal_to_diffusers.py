"""Our samplers give the latents of diffusers' pipelines, on the same network, noise, prompts and timesteps.

diffusers keeps its tables and some of its steps in float32. `double` lets the same code compute in float64, so that the
comparison is of the methods and not of rounding.
"""

import copy
import shutil
import sys
from itertools import pairwise

import diffusers
import numpy as np
import pytest
import torch

import multidiff
from multidiff.pretrained.scheduler import sampler_of
from multidiff.sampling.editing import Vary
from tests.pretrained.folders import SD_SCHEDULER

PROMPTS, NEGATIVE, SCALE, STEPS, SEED = ["a fox", "an owl"], "blur", 3.0, 4, 5

LEADING, LINSPACE, TRAILING = ({"timestep_spacing": name} for name in ("leading", "linspace", "trailing"))
V = {"prediction_type": "v_prediction"}
SDE = {"algorithm_type": "sde-dpmsolver++"}
ZERO = {"rescale_betas_zero_snr": True, **V, **TRAILING}

CASES = [
    ("DDIMScheduler", LEADING),
    ("DDIMScheduler", {**LEADING, **V}),
    ("DDIMScheduler", {**LEADING, "beta_schedule": "linear"}),
    ("DDIMScheduler", {**LEADING, "beta_schedule": "squaredcos_cap_v2"}),
    ("DDIMScheduler", ZERO),
    ("EulerDiscreteScheduler", LEADING),
    ("EulerDiscreteScheduler", {**LINSPACE, **V}),
    ("EulerDiscreteScheduler", TRAILING),
    ("EulerAncestralDiscreteScheduler", LEADING),
    ("EulerAncestralDiscreteScheduler", {**LINSPACE, **V}),
    ("HeunDiscreteScheduler", LEADING),
    ("HeunDiscreteScheduler", {**LINSPACE, **V}),
    ("DPMSolverMultistepScheduler", LEADING),
    ("DPMSolverMultistepScheduler", LINSPACE),
    ("DPMSolverMultistepScheduler", {**TRAILING, **V}),
    ("DPMSolverMultistepScheduler", {**LEADING, "solver_order": 1}),
    ("DPMSolverMultistepScheduler", {**LEADING, "solver_type": "heun"}),
    ("DPMSolverMultistepScheduler", {**LEADING, **SDE}),
    ("DPMSolverMultistepScheduler", {**LINSPACE, **V, **SDE}),
    ("DPMSolverMultistepScheduler", {**TRAILING, **SDE, "solver_type": "heun"}),
    ("DPMSolverMultistepScheduler", {**LEADING, **SDE, "solver_order": 1}),
    ("UniPCMultistepScheduler", LEADING),
    ("UniPCMultistepScheduler", LINSPACE),
    ("UniPCMultistepScheduler", {**TRAILING, **V}),
]
FAST = [next(case for case in CASES if case[0] == name) for name in dict.fromkeys(name for name, _ in CASES)]
SLOW = [pytest.param(*case, marks=pytest.mark.slow) for case in CASES if case not in FAST]
SCALED = ("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler")
"""Schedulers whose x is divided by alpha."""


class Double:
    """A module whose float32 is float64."""

    def __init__(self, module):
        self.module, self.float32 = module, module.float64

    def __getattr__(self, name):
        return getattr(self.module, name)


def scheduler_of(name, settings, monkeypatch):
    """A scheduler of diffusers that computes in float64."""
    kind = getattr(diffusers, name)
    module = sys.modules[kind.__module__]
    monkeypatch.setattr(module, "torch", Double(torch))
    monkeypatch.setattr(module, "np", Double(np))
    accepted = kind.__init__.__wrapped__.__code__.co_varnames
    return kind(**{key: value for key, value in {**SD_SCHEDULER, **settings}.items() if key in accepted})


@pytest.fixture
def saved(saved, tmp_path):
    """A copy, which these tests change."""
    return shutil.copytree(saved[0], tmp_path / "own"), copy.deepcopy(saved[1])


@pytest.fixture
def saved_xl(saved_xl, tmp_path):
    """Likewise."""
    return shutil.copytree(saved_xl[0], tmp_path / "own"), copy.deepcopy(saved_xl[1])


def both(saved, scheduler, monkeypatch, **request):
    """A plan of ours and the latents of diffusers for the same request."""
    folder, pipeline = saved
    pipeline.to(torch.float64).scheduler = scheduler
    scheduler.save_pretrained(folder / "scheduler")
    ours = multidiff.load(folder, "cpu")
    ours.model.double()
    plan = ours.plan(len(PROMPTS), prompt=PROMPTS, steps=STEPS, seed=SEED, **request)
    rows, schedule, name = range(len(PROMPTS)), ours.model.denoiser.schedule, type(scheduler).__name__
    noise = plan.seeds.noise(rows, ours.noise)
    scheduler.set_timesteps(STEPS)
    alpha = schedule.alpha(plan.grid[0]) if name in SCALED else 1.0
    start = noise.start() * (schedule.sigma(plan.grid[0]) / alpha / scheduler.init_noise_sigma)
    steps = iter([noise.between(t, s) for t, s in pairwise(plan.grid)])
    module = sys.modules[type(scheduler).__module__]
    monkeypatch.setattr(module, "randn_tensor", lambda *_, **__: next(steps), raising=False)
    negative = {"negative_prompt": [NEGATIVE] * len(PROMPTS)} if request.get("negative") else {}
    scale = request.get("guidance", 7.5)
    made = pipeline(
        PROMPTS, **negative, num_inference_steps=STEPS, guidance_scale=scale, latents=start, output_type="latent"
    )
    return plan, made.images


@pytest.mark.parametrize(("name", "settings"), [*FAST, *SLOW])
def test_latents_equal_those_of_diffusers(saved, monkeypatch, name, settings):
    scheduler = scheduler_of(name, settings, monkeypatch)
    plan, theirs = both(saved, scheduler, monkeypatch, negative=NEGATIVE, guidance=SCALE)
    assert plan.sampler == {**sampler_of(scheduler.config), "steps": STEPS}
    ours = plan.x0(range(len(PROMPTS)))
    assert (ours - theirs).abs().max() < 1e-6
    assert ours.std() > 0.1


@pytest.mark.parametrize("request_", [{"guidance": 1.0}, {"guidance": SCALE}, {}], ids=str)
def test_without_a_negative_prompt_guidance_steers_away_from_the_empty_text(saved, monkeypatch, request_):
    scheduler = scheduler_of("DDIMScheduler", LEADING, monkeypatch)
    plan, theirs = both(saved, scheduler, monkeypatch, **request_)
    assert (plan.x0(range(len(PROMPTS))) - theirs).abs().max() < 1e-6


@pytest.mark.parametrize("negative", [{}, {"negative": NEGATIVE}], ids=str)
@pytest.mark.parametrize(("name", "settings"), [("EulerDiscreteScheduler", LEADING), ("DDIMScheduler", ZERO)])
def test_latents_of_sdxl_equal_those_of_diffusers(saved_xl, monkeypatch, name, settings, negative):
    plan, theirs = both(saved_xl, scheduler_of(name, settings, monkeypatch), monkeypatch, guidance=SCALE, **negative)
    assert (plan.x0(range(len(PROMPTS))) - theirs).abs().max() < 1e-6


@pytest.mark.parametrize("name", ["DDIMScheduler", "UniPCMultistepScheduler"])
def test_image_to_image_equals_that_of_diffusers_from_a_timestep_of_the_grid(saved, monkeypatch, name):
    scheduler = scheduler_of(name, LEADING, monkeypatch)
    plan, latents = both(saved, scheduler, monkeypatch)
    picture, ours = plan.pipeline.artifacts(latents)[0], plan.pipeline
    edit = Vary(picture, float(plan.grid[2] / plan.grid[0]))  # two of the four steps are left
    edited = ours.plan(2, prompt=PROMPTS, steps=STEPS, negative=NEGATIVE, guidance=SCALE, edit=edit)
    x0, noise = ours.canvas.x0(picture), edited.seeds.noise(range(2), ours.noise).start()
    theirs = diffusers.StableDiffusionImg2ImgPipeline(**saved[1].components, requires_safety_checker=False)
    theirs.set_progress_bar_config(disable=True)
    monkeypatch.setattr(sys.modules[type(theirs).__module__], "randn_tensor", lambda *_, **__: noise)
    made = theirs(
        PROMPTS, image=x0.expand(2, *x0.shape), negative_prompt=[NEGATIVE] * 2, strength=0.5,
        num_inference_steps=STEPS, guidance_scale=SCALE, output_type="latent",
    )  # fmt: skip
    assert (edited.x0(range(2)) - made.images).abs().max() < 1e-6


def test_images_equal_those_of_diffusers_to_the_pixel(saved, monkeypatch):
    scheduler = scheduler_of("UniPCMultistepScheduler", TRAILING, monkeypatch)
    plan, theirs = both(saved, scheduler, monkeypatch, negative=NEGATIVE, guidance=SCALE)
    pipeline = saved[1]
    with torch.no_grad():
        decoded = pipeline.vae.decode(theirs / pipeline.vae.config.scaling_factor).sample
    expected = pipeline.image_processor.postprocess(decoded, output_type="pil")
    for ours, wanted in zip(plan.generate(), expected, strict=True):
        assert np.array_equal(np.asarray(ours), np.asarray(wanted))
