"""Zero terminal SNR for a pipeline without it: trained, saved, sampled and opened by diffusers alike."""

import json
import re

import diffusers
import pytest
import torch

import multidiff
from multidiff.diffusion.predictions import Velocity
from multidiff.errors import InputError
from multidiff.pretrained.terminal import write_rescaled
from tests.pretrained import folders
from tests.pretrained.tuned import tuned

RESCALED = ("tuning.zero_terminal_snr=true", "trainer.max_steps=1")
END = torch.ones(1, dtype=torch.float64)


@pytest.fixture(scope="module")
def runs(saved, pictures, tmp_path_factory):
    """Runs of a LoRA and of all weights."""
    place = tmp_path_factory.mktemp("rescaled")
    for name, changes in {"lora": (), "full": ("tuning=full",)}.items():
        tuned(saved[0], pictures, place / name, *RESCALED, *changes)
    return place


@pytest.mark.parametrize("name", ["lora", "full"])
def test_the_trained_model_starts_at_noise_alone_and_predicts_v(runs, name):
    pipeline = multidiff.load(runs / name, "cpu")
    denoiser = pipeline.model.denoiser
    published = diffusers.DDIMScheduler(**folders.SD_SCHEDULER, rescale_betas_zero_snr=True).alphas_cumprod
    times = torch.arange(1, 1001, dtype=torch.float64) / 1000
    assert isinstance(denoiser.prediction, Velocity)
    assert denoiser.schedule.alpha(END) == 0
    torch.testing.assert_close(denoiser.schedule.alpha(times).square(), published.double(), atol=1e-6, rtol=1e-4)
    plan = pipeline.plan(1, prompt="a fox", steps=2)
    assert plan.grid[0] == 1
    assert plan.x0(range(1)).isfinite().all()


def test_diffusers_samples_all_weights_with_the_same_schedule(runs):
    theirs = diffusers.StableDiffusionPipeline.from_pretrained(runs / "full" / "model", local_files_only=True)
    assert theirs.scheduler.alphas_cumprod[-1] < 1e-9
    assert theirs.scheduler.config.prediction_type == "v_prediction"
    assert theirs.scheduler.config.timestep_spacing == "trailing"


def test_a_scheduler_without_the_setting_becomes_ddim(folder):
    config = folder / "scheduler" / "scheduler_config.json"
    config.write_text(re.sub("DDIMScheduler", "PNDMScheduler", config.read_text()))
    write_rescaled(folder)
    assert json.loads((folder / "model_index.json").read_text())["scheduler"] == ["diffusers", "DDIMScheduler"]
    assert multidiff.load(folder, "cpu").model.denoiser.schedule.alpha(END) == 0


def test_what_has_it_already_and_what_predicts_otherwise_are_refused(saved, runs, pictures, tmp_path):
    with pytest.raises(InputError, match=r"has zero terminal SNR already: leave tuning\.zero_terminal_snr out"):
        tuned(runs / "full" / "model", pictures, tmp_path / "again", *RESCALED)
    folders.flux(tmp_path / "flux", distilled=False)
    with pytest.raises(InputError, match="has zero terminal SNR already"):
        tuned(tmp_path / "flux", pictures, tmp_path / "again", *RESCALED, "objective=flow")
    for file in ("model.safetensors", "kohya/lora.safetensors"):
        with pytest.raises(InputError, match="was trained to predict v with zero terminal SNR"):
            multidiff.load(saved[0], "cpu", {str(runs / "lora" / "model" / file): 1.0})
