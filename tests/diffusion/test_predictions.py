"""Every prediction is an exact change of variables for every schedule, also at zero noise and zero signal."""

import pytest
import torch

from multidiff.diffusion.denoiser import NetworkDenoiser, coefficients
from multidiff.diffusion.predictions import EDM, Epsilon, Flow, Sample, Velocity

from .conftest import mixture_of

PREDICTIONS = [Epsilon(), Sample(), Velocity(), Flow(), EDM(sigma_data=0.7)]


def names(prediction):
    return type(prediction).__name__


@pytest.mark.parametrize("prediction", PREDICTIONS, ids=names)
def test_target_and_estimate_are_inverse(schedule, prediction):
    generator = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(2, 99, 5, generator=generator, dtype=torch.float64)
    a, s = coefficients(schedule, torch.linspace(0.01, 0.99, 99, dtype=torch.float64), x0)
    x_t = a * x0 + s * noise
    torch.testing.assert_close(prediction.to_x0(prediction.target(x0, noise, a, s), x_t, a, s), x0)


@pytest.mark.parametrize("prediction", PREDICTIONS, ids=names)
def test_gain_is_the_derivative_of_the_estimate(schedule, prediction):
    a, s = (
        function(torch.linspace(0.01, 0.99, 99, dtype=torch.float64)) for function in (schedule.alpha, schedule.sigma)
    )
    x_t = torch.ones_like(a)
    unit = prediction.to_x0(torch.ones_like(a), x_t, a, s) - prediction.to_x0(torch.zeros_like(a), x_t, a, s)
    torch.testing.assert_close(unit.abs(), prediction.gain(a, s))


@pytest.mark.parametrize("prediction", PREDICTIONS, ids=names)
def test_finite_at_both_ends_and_exact_without_noise(schedule, prediction):
    x_t, output = torch.ones(2, 1, dtype=torch.float64), torch.full((2, 1), 3.0, dtype=torch.float64)
    a, s = coefficients(schedule, torch.tensor([0.0, 1.0], dtype=torch.float64), x_t)
    x0 = prediction.to_x0(output, x_t, a, s)
    assert x0.isfinite().all()
    assert prediction.scale_input(x_t, a, s).isfinite().all()
    assert prediction.gain(a, s).isfinite().all()
    if not isinstance(prediction, Sample):
        torch.testing.assert_close(x0[0], x_t[0])


def test_edm_has_unit_input_and_unit_target(schedule):
    """For data with standard deviation sigma_data, input and target of the network have variance 1 at all times."""
    prediction = EDM(sigma_data=0.7)
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    a, s = schedule.alpha(t), schedule.sigma(t)
    one, zero = torch.ones_like(a), torch.zeros_like(a)
    for function in (
        lambda x0, noise: prediction.scale_input(a * x0 + s * noise, a, s),
        lambda x0, noise: prediction.target(x0, noise, a, s),
    ):
        variance = (0.7 * function(one, zero)) ** 2 + function(zero, one) ** 2  # linear in independent x0 and noise
        torch.testing.assert_close(variance, one)


@pytest.mark.parametrize("prediction", PREDICTIONS, ids=names)
def test_all_predictions_of_one_model_give_one_x0(schedule, prediction):
    """A network that outputs the exact target gives the exact denoiser of the mixture, for every prediction."""
    mixture = mixture_of(schedule)

    class Exact(torch.nn.Module):
        def forward(self, x, log_snr, cond):
            t = schedule.time(log_snr)
            a, s = coefficients(schedule, t, x)
            x_t = x / prediction.scale_input(torch.ones_like(x), a, s)
            x0 = mixture(x_t, t)
            return prediction.target(x0, (x_t - a * x0) / s, a, s)

    t = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    a, s = coefficients(schedule, t, torch.empty(19, 2, dtype=torch.float64))
    x_t = torch.sqrt(a**2 + s**2) * torch.randn(19, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    estimate = NetworkDenoiser(Exact(), schedule, prediction)(x_t, t)
    torch.testing.assert_close(estimate, mixture(x_t, t), rtol=1e-7, atol=1e-9)
