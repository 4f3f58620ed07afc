"""The schedule of discrete timesteps: exact at them, smooth and invertible between them."""

import math

import pytest
import torch

from multidiff.diffusion.discrete import Betas, CosineBetas, LinearBetas, ScaledLinearBetas
from multidiff.diffusion.grids import KarrasRho, Leading, Linspaced, UniformLogSNR

COUNT = 1000
STABLE = ScaledLinearBetas(0.00085, 0.012, COUNT)
ZERO = ScaledLinearBetas(0.00085, 0.012, COUNT, zero_terminal_snr=True)
STEPPED = Betas([0.1, 0.5, 0.001, 0.9])


def times(count):
    return torch.arange(1, count + 1, dtype=torch.float64) / count


def test_the_signal_is_the_product_of_what_each_timestep_keeps():
    power = [math.prod(1 - beta for beta in STABLE.betas[: k + 1]) for k in range(0, COUNT, 111)]
    assert torch.allclose(STABLE.alpha(times(COUNT)[::111]) ** 2, torch.tensor(power, dtype=torch.float64), rtol=1e-12)


def test_betas_are_linear_or_of_a_linear_square_root_or_make_the_signal_a_cosine():
    linear, scaled, cosine = LinearBetas(), ScaledLinearBetas(), CosineBetas()
    for schedule, values, ends in (
        (linear, torch.tensor(linear.betas), (1e-4, 0.02)),
        (scaled, torch.tensor(scaled.betas).sqrt(), (0.00085**0.5, 0.012**0.5)),
    ):
        assert schedule.count == COUNT
        assert torch.allclose(values.diff(), (values[-1] - values[0]) / (COUNT - 1), rtol=1e-3)
        assert (values[0].item(), values[-1].item()) == pytest.approx(ends)
    t = times(COUNT)[:-1]
    signal = torch.cos((t + 0.008) / 1.008 * math.pi / 2) / math.cos(0.008 / 1.008 * math.pi / 2)
    assert torch.allclose(cosine.alpha(t), signal, rtol=1e-9)


def test_zero_terminal_snr_keeps_the_first_timestep_and_ends_without_signal():
    first, last = times(COUNT)[[0, -1]]
    assert torch.allclose(ZERO.alpha(first), STABLE.alpha(first), rtol=1e-12)
    assert ZERO.alpha(last) == 0
    assert ZERO.sigma(last) == 1
    plain, scaled = STABLE.alpha(times(COUNT)), ZERO.alpha(times(COUNT))
    slope = scaled.diff() / plain.diff()
    assert torch.allclose(slope, slope[0], rtol=1e-8)  # an affine map, as published


@pytest.mark.parametrize("schedule", [STABLE, ZERO, STEPPED])
def test_time_inverts_log_snr(schedule):
    t = torch.rand(500, dtype=torch.float64)
    assert torch.allclose(schedule.time(schedule.log_snr(t)), t, atol=1e-10)


@pytest.mark.parametrize("schedule", [STABLE, ZERO, STEPPED])
def test_it_starts_clean_and_preserves_variance(schedule):
    t = torch.linspace(0, 1, 1237, dtype=torch.float64)
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    assert (alpha[0], sigma[0]) == (1, 0)
    assert torch.allclose(alpha**2 + sigma**2, torch.ones_like(t), rtol=1e-12)
    assert (alpha.diff() < 0).all()


def test_between_timesteps_it_is_as_smooth_as_the_betas():
    """The cubic through every tenth timestep of a longer process meets those left out."""
    fine, coarse = Betas([1e-4] * 2000), Betas([1 - (1 - 1e-4) ** 10] * 200)
    t = torch.linspace(0.01, 1, 800, dtype=torch.float64)
    assert (fine.log_snr(t) - coarse.log_snr(t)).abs().max() < 1e-4


def test_it_keeps_dtype_and_shape():
    t = torch.rand(3, 2)
    assert STABLE.sigma(t).dtype == torch.float32
    assert STABLE.time(STABLE.log_snr(t)).shape == t.shape


def test_the_timestep_of_a_network_counts_from_zero_and_stays_in_its_range():
    t = torch.tensor([1.0, 0.5, 0.001, 0.0004, 0.0], dtype=torch.float64)
    assert torch.allclose(STABLE.timestep(t), torch.tensor([999, 499, 0, 0, 0]).double(), atol=1e-9)


@pytest.mark.parametrize("betas", [[], [0.1], [0.1, 0.0], [0.1, 1.0], [0.1, float("nan")]])
def test_betas_that_are_none_are_refused(betas):
    with pytest.raises(ValueError, match="betas"):
        Betas(betas)


@pytest.mark.parametrize("grid", [KarrasRho(), UniformLogSNR()])
def test_grids_start_their_last_step_where_a_network_was_trained(grid):
    lowest = grid(STABLE, 10)[-2]
    assert torch.allclose(lowest, torch.tensor(1 / COUNT).double(), atol=1e-9)


@pytest.mark.parametrize("steps", [1, 7, 20])
@pytest.mark.parametrize("spare", [0, 1])
def test_whole_timesteps_are_the_exact_ones_rounded(steps, spare):
    leading, exact = (Leading(COUNT, spare=spare, whole=whole)(STABLE, steps)[:-1] * COUNT for whole in (True, False))
    assert torch.allclose(leading, leading.round(), atol=1e-9)
    assert ((exact - leading >= -1e-9) & (exact - leading < steps + spare)).all()
    assert torch.allclose(leading[-1], torch.tensor(2 + spare * (COUNT // (steps + spare))).double())
    evenly, exact = (Linspaced(COUNT, spare, whole)(STABLE, steps)[:-1] * COUNT for whole in (True, False))
    assert torch.allclose(evenly, evenly.round(), atol=1e-9)
    assert (evenly - exact).abs().max() <= 0.5 + 1e-9
    assert torch.allclose(evenly[0], torch.tensor(COUNT).double())


@pytest.mark.parametrize("grid", [Leading, Linspaced])
def test_more_steps_than_timesteps_are_refused(grid):
    with pytest.raises(ValueError, match="train_steps"):
        grid(10)(STABLE, 11)
    with pytest.raises(ValueError, match="train_steps"):
        grid(0)
    with pytest.raises(ValueError, match="spare"):
        grid(10, spare=-1)
