"""Schedules, networks and samplers of a user that break their contract are refused with the reason."""

import pytest
import torch
from torch import nn

from multidiff.configuration import group_options, instantiate, load_option
from multidiff.diffusion.denoiser import NetworkDenoiser
from multidiff.diffusion.grids import Uniform
from multidiff.diffusion.predictions import Velocity
from multidiff.diffusion.samplers import Euler, sample
from multidiff.diffusion.schedules import Cosine, Karras, RectifiedFlow, Schedule, check_schedule

from .conftest import SCHEDULES
from .gaussian import Gaussian, noise


class NoisyStart(RectifiedFlow):
    def sigma(self, t):
        return 0.1 + 0.9 * t


class Rising(RectifiedFlow):
    def alpha(self, t):
        return 1 + t

    def sigma(self, t):
        return t * (1 - t)


class OtherTime(RectifiedFlow):
    def time(self, log_snr):
        return Cosine().time(log_snr)


SHIPPED = {name: load_option("schedule", name) for name in group_options("schedule")}


@pytest.mark.parametrize("config", SHIPPED.values(), ids=SHIPPED)
def test_the_shipped_schedules_keep_their_contract(config, caplog):
    check_schedule(instantiate(Schedule, config))
    assert not caplog.messages


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_the_schedules_keep_their_contract(schedule):
    check_schedule(schedule)


def test_a_schedule_with_much_signal_at_its_end_causes_a_warning(caplog):
    NetworkDenoiser(nn.Identity(), Karras(sigma_max=4.0), Velocity())
    (line,) = caplog.messages
    assert line.startswith("the schedule Karras ends with the signal alpha / sigma = 0.25, above 0.1: ")


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (NoisyStart(), "NoisyStart must start at alpha = 1 and sigma = 0, got 1 and 0.1"),
        (Rising(), "log SNR of the schedule Rising must decrease"),
        (OtherTime(), "time of the schedule OtherTime must be the inverse of log_snr"),
    ],
)
def test_a_schedule_that_contradicts_itself_is_refused(schedule, message):
    with pytest.raises(ValueError, match=message):
        NetworkDenoiser(nn.Identity(), schedule, Velocity())


class Returns(nn.Module):
    """A network that returns what a function makes of x."""

    def __init__(self, made):
        super().__init__()
        self.made = made

    def forward(self, x, log_snr, cond):
        return self.made(x)


WRONG = {
    "shorter": (lambda x: x[..., :-1], r"shape \(3, 2\), got \(3, 1\)"),
    "one sample": (lambda x: x[:1], r"shape \(3, 2\), got \(1, 2\)"),
    "none": (lambda x: None, "got NoneType"),
}


@pytest.mark.parametrize(("made", "message"), WRONG.values(), ids=WRONG)
def test_a_network_returns_a_tensor_like_x(made, message):
    denoiser = NetworkDenoiser(Returns(made), Cosine(), Velocity())
    with pytest.raises(ValueError, match=f"the network Returns must return a tensor.*{message}"):
        denoiser(torch.zeros(3, 2), torch.tensor(0.5))


@pytest.mark.parametrize(("made", "message"), WRONG.values(), ids=WRONG)
def test_a_step_returns_a_tensor_like_x(made, message):
    class Step(Euler):
        def step(self, *arguments):
            return made(super().step(*arguments))

    with pytest.raises(ValueError, match=f"a step of Step must return a tensor.*{message}"):
        sample(Gaussian(), noise(3, 2), Step(Cosine()), Uniform()(Cosine(), 2))
