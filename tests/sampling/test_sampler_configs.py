"""Every shipped sampler config says when to use it, and builds a sampler that samples."""

import pytest
import torch

from multidiff.configuration import config_dir, group_options, instantiate, load_option
from multidiff.diffusion.grids import Grid
from multidiff.diffusion.noise import NoiseSource
from multidiff.diffusion.samplers import Sampler, sample
from tests.diffusion.conftest import SCHEDULES, mixture_of


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", group_options("sampler"))
def test_a_sampler_config_samples_under_every_schedule(name, schedule):
    text, config = (config_dir() / "sampler" / f"{name}.yaml").read_text(), load_option("sampler", name)
    assert text.startswith("# ")
    assert config["name"] == name
    mixture = mixture_of(SCHEDULES[schedule])
    grid = instantiate(Grid, config["grid"])(mixture.schedule, config["steps"])
    noise = NoiseSource(range(8), (2,), torch.float64)
    x0 = sample(mixture, noise, instantiate(Sampler, config["method"], schedule=mixture.schedule), grid)
    assert x0.isfinite().all()
    assert x0.abs().max() < 4  # means within 1.2, deviations within 0.5
