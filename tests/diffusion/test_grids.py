"""Grids visit the noise levels of their papers."""

import math

import pytest
import torch

from multidiff.diffusion.grids import KarrasRho, Trailing, Uniform, UniformLogSNR
from multidiff.diffusion.schedules import Cosine, Karras, LinearVP

from .conftest import SCHEDULES

GRIDS = [Uniform(), Trailing(), KarrasRho(), UniformLogSNR()]


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: type(grid).__name__)
@pytest.mark.parametrize("steps", [1, 2, 7, 1000])
def test_decreases_from_noise_to_exactly_zero(schedule, grid, steps):
    times = grid(schedule, steps)
    assert times.shape == (steps + 1,)
    assert times.dtype == torch.float64
    assert times[0] <= 1
    assert times[-1] == 0
    assert (times.diff() < 0).all()


def test_karras_levels_are_those_of_edm():
    """Equation 5 of EDM: i from 0 to n - 1 between sigma_max and sigma_min."""
    i, n = torch.arange(10, dtype=torch.float64), 10
    expected = (80 ** (1 / 7) + i / (n - 1) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    times = KarrasRho()(Karras(), n)
    torch.testing.assert_close(Karras().sigma(times[:-1]), expected)


def test_uniform_log_snr_takes_equal_steps_of_log_snr():
    times = UniformLogSNR(sigma_min=0.01, sigma_max=50.0)(Cosine(), 9)
    steps = Cosine().log_snr(times[:-1]).diff()
    torch.testing.assert_close(steps, steps.mean().expand(8))


def test_levels_beyond_the_schedule_are_clipped():
    schedule = LinearVP(beta_min=0.1, beta_max=4.0)
    assert schedule.log_snr(torch.ones(1)) > -torch.log(torch.tensor(80.0))
    assert KarrasRho()(schedule, 10)[0] == pytest.approx(1)


@pytest.mark.parametrize("grid", [KarrasRho, UniformLogSNR])
def test_levels_are_those_that_the_network_was_trained_at_unless_they_are_given(grid):
    trained = (-3.0, 2.0)
    levels = [torch.exp(-Karras().log_snr(each.trained_at(trained)(Karras(), 5)[:-1])) for each in (grid(), grid(0.01))]
    assert [ends[0].item() for ends in levels] == pytest.approx([math.exp(3), math.exp(3)])
    assert [ends[-1].item() for ends in levels] == pytest.approx([math.exp(-2), 0.01])
    assert torch.equal(grid().trained_at((-9.0, 9.0))(Karras(), 5), grid()(Karras(), 5))


def test_levels_that_were_not_trained_at_and_exclude_the_others_are_refused():
    with pytest.raises(ValueError, match="need 0 < sigma_min < sigma_max, got 9 and 7"):
        KarrasRho(sigma_min=9).trained_at((-math.log(7), 3.0))


def test_trailing_visits_the_discrete_times_of_diffusers():
    """``round(arange(T, 0, -T / n))``, the strides that end at T: for T = 1000 and n = 7 as Lin et al. compute them."""
    expected = torch.tensor([1000.0, 857, 714, 571, 429, 286, 143, 0]).double() / 1000
    torch.testing.assert_close(Trailing(1000)(SCHEDULES["cosine"], 7), expected)


def test_too_many_or_too_few_steps_are_refused():
    with pytest.raises(ValueError, match="at least 1 step, got 0"):
        Uniform()(Cosine(), 0)
    with pytest.raises(ValueError, match="at most train_steps, 10, got 11"):
        Trailing(10)(Cosine(), 11)
