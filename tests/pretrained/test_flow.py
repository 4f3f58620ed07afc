"""Stable Diffusion 3 and Flux give the latents of diffusers' pipelines, with the shift of their schedulers."""

import shutil
import sys

import diffusers
import pytest
import torch
from einops import rearrange

import multidiff
from multidiff.errors import InputError
from tests.pretrained import folders
from tests.pretrained.test_equal_to_diffusers import NEGATIVE, PROMPTS, STEPS, Double
from tests.pretrained.test_folder import change

DYNAMIC = {"use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15}
SIZE = 16


@pytest.fixture
def double(monkeypatch):
    """The scheduler of diffusers computes in float64."""
    module = sys.modules[diffusers.FlowMatchEulerDiscreteScheduler.__module__]
    monkeypatch.setattr(module, "torch", Double(torch))
    monkeypatch.setattr(module, "np", Double(module.np))


def planned(folder, **request):
    ours = multidiff.load(folder, "cpu")
    ours.model.double()
    plan = ours.plan(2, prompt=PROMPTS, steps=STEPS, fields={"height": SIZE, "width": SIZE}, **request)
    return plan, plan.seeds.noise(range(2), plan.pipeline.noise).start()


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(
    ("scheduler", "t5"),
    [({"shift": 3.0}, True), ({"shift": 3.0}, False), (DYNAMIC, True)],
    ids=["shift", "clip", "dynamic"],
)
def test_latents_of_sd3_equal_those_of_diffusers(tmp_path, caplog, scheduler, t5):
    theirs = folders.stable_diffusion_3(tmp_path / "sd3", **scheduler).to(torch.float64)
    if not t5:
        theirs.text_encoder_3 = None
        shutil.rmtree(tmp_path / "sd3" / "text_encoder_3")
    plan, noise = planned(tmp_path / "sd3", negative=NEGATIVE, guidance=3.0)
    made = theirs(
        PROMPTS, negative_prompt=[NEGATIVE] * 2, guidance_scale=3.0, num_inference_steps=STEPS, latents=noise,
        height=SIZE, width=SIZE, output_type="latent",
    )  # fmt: skip
    ours = plan.x0(range(2))
    assert (ours - made.images).abs().max() < 1e-6
    assert ours.std() > 0.1
    assert ("has no T5" in caplog.text) != t5


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("distilled", [True, False])
@pytest.mark.parametrize("scheduler", [{"shift": 3.0}, DYNAMIC], ids=["shift", "dynamic"])
def test_latents_of_flux_equal_those_of_diffusers(tmp_path, scheduler, distilled):
    theirs = folders.flux(tmp_path / "flux", distilled=distilled, **scheduler).to(torch.float64)
    opposite = {} if distilled else {"negative": NEGATIVE}
    plan, noise = planned(tmp_path / "flux", guidance=2.0, **opposite)
    packed = rearrange(noise, "b c (h i) (w j) -> b (h w) (c i j)", i=2, j=2)
    asked = {"guidance_scale": 2.0} if distilled else {"true_cfg_scale": 2.0, "negative_prompt": [NEGATIVE] * 2}
    made = theirs(
        PROMPTS, **asked, num_inference_steps=STEPS, latents=packed, height=SIZE, width=SIZE, output_type="latent"
    )  # fmt: skip
    expected = rearrange(made.images, "b (h w) (c i j) -> b c (h i) (w j)", h=4, i=2, j=2)
    assert (plan.x0(range(2)) - expected).abs().max() < 1e-6


def test_a_distilled_flux_applies_guidance_by_itself_and_samples_do_not_depend_on_their_batch(tmp_path):
    folders.flux(tmp_path / "flux", distilled=True, **DYNAMIC)
    ours = multidiff.load(tmp_path / "flux", "cpu")
    request = {"steps": 2, "fields": {"height": SIZE, "width": SIZE}}
    with pytest.raises(InputError, match="applies guidance by itself"):
        ours.plan(1, prompt="a fox", negative="blur", **request)
    assert ours.plan(1, prompt="a fox", **request).guidance.scale == 3.5
    assert ours.sample(1, prompt="a fox", steps=1, fields={"height": SIZE, "width": SIZE})[0].size == (SIZE, SIZE)
    ours.model.double()
    long = "ball " * 600  # of two chunks
    together = ours.plan(2, prompt=["a fox", long], **request).x0(range(2))
    alone = ours.plan(1, prompt="a fox", **request).x0(range(1))
    assert torch.allclose(together[:1], alone, atol=1e-9)
    with pytest.raises(InputError, match="multiples of 4"):
        ours.plan(1, prompt="a fox", fields={"height": 18})


def test_settings_without_a_counterpart_are_refused(tmp_path):
    folders.flux(tmp_path / "flux", distilled=True, **DYNAMIC)
    change(tmp_path / "flux" / "scheduler" / "scheduler_config.json", use_karras_sigmas=True)
    with pytest.raises(InputError, match=r"scheduler_config.json: use_karras_sigmas is not supported"):
        multidiff.load(tmp_path / "flux", "cpu")
    change(tmp_path / "flux" / "scheduler" / "scheduler_config.json", _class_name="DDIMScheduler")
    with pytest.raises(InputError, match="is sampled by a FlowMatchEulerDiscreteScheduler, got DDIMScheduler"):
        multidiff.load(tmp_path / "flux", "cpu")
