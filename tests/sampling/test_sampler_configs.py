"""Every shipped sampler config says when to use it, and builds a sampler that samples."""

import re

import pytest
import torch

from multidiff.configuration import advice, config_dir, group_options, instantiate, load_option
from multidiff.diffusion.denoiser import Denoiser
from multidiff.diffusion.grids import Grid
from multidiff.diffusion.noise import NoiseSource
from multidiff.diffusion.samplers import Sampler, sample
from tests.diffusion.conftest import SCHEDULES, mixture_of


class Instantaneous(Denoiser):
    """Takes a second time, and has the velocity at the first."""

    def __init__(self, denoiser):
        super().__init__()
        self.denoiser = denoiser

    def forward(self, x_t, t, cond=None, s=None):
        return self.denoiser(x_t, t, cond)


@pytest.mark.parametrize("schedule", ["karras", "zero terminal"])
@pytest.mark.parametrize("name", group_options("sampler"))
def test_a_sampler_config_samples(name, schedule):
    """Under the extreme schedules; tests/diffusion/test_samplers.py tests all."""
    text, config = (config_dir() / "sampler" / f"{name}.yaml").read_text(), load_option("sampler", name)
    assert text.startswith("# ")
    assert config["name"] == name
    mixture = mixture_of(SCHEDULES[schedule])
    grid = instantiate(Grid, config["grid"])(mixture.schedule, config["steps"])
    noise = NoiseSource(range(8), (2,), torch.float64)
    sampler = instantiate(Sampler, config["method"], schedule=mixture.schedule)
    x0 = sample(Instantaneous(mixture) if sampler.second_time else mixture, noise, sampler, grid)
    assert x0.isfinite().all()
    assert x0.abs().max() < 4  # means within 1.2, deviations within 0.5


@pytest.mark.parametrize("name", group_options("sampler"))
def test_the_default_steps_of_a_sampler_are_those_that_it_is_advised_for(name):
    steps, text = load_option("sampler", name)["steps"], advice("sampler", name).lower()
    for limit, first, last in re.findall(r"(at least|more than|at most)? ?(\d+)(?: to (\d+))? steps", text):
        assert limit == "at most" or steps >= int(first)
        assert limit in ("at least", "more than") or steps <= int(last or first)
