"""Samplers converge at their order, agree where theory says that they must, and stay finite at the ends."""

import math
from functools import cache

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from multidiff.diffusion.grids import KarrasRho, Trailing, Uniform, UniformLogSNR
from multidiff.diffusion.noise import NoiseSource, sample_seeds
from multidiff.diffusion.samplers import DDIM, DDPM, DPMSolverMultistep, Euler, Heun, sample
from multidiff.diffusion.samplers.base import integrate

from .conftest import SCHEDULES, mixture_of

SAMPLERS = {
    "ddpm": DDPM,
    "ddim": DDIM,
    "ddim eta 0.5": lambda schedule: DDIM(schedule, eta=0.5),
    "euler": Euler,
    "heun": Heun,
    "dpmpp_2m": DPMSolverMultistep,
}
GRIDS = [Uniform(), Trailing(), KarrasRho(), UniformLogSNR()]


def double_noise(count, size=(2,), seed=0):
    return NoiseSource(sample_seeds(seed, 0, count), size, torch.float64)


def exact_solution(mixture, x, times):
    """The probability-flow ODE in ``l = log(sigma / alpha)``, ``z = x / alpha``: ``dz / dl = z - x0``."""
    start, stop = (-mixture.schedule.log_snr(t).item() for t in (times[0], times[-1]))

    def slope(level, z):
        t = mixture.schedule.time(torch.tensor(-level, dtype=torch.float64))
        z = torch.from_numpy(z).reshape(x.shape)
        return (z - mixture(mixture.schedule.alpha(t) * z, t)).flatten().numpy()

    z = (x / mixture.schedule.alpha(times[0])).flatten().numpy()
    solution = solve_ivp(slope, (start, stop), z, method="DOP853", rtol=1e-10, atol=1e-10)
    return mixture.schedule.alpha(times[-1]) * torch.from_numpy(solution.y[:, -1]).reshape(x.shape)


@cache
def exact_path(name):
    """A mixture under the schedule called ``name``, and both ends of its ODE's path from log SNR -2 to 3."""
    mixture = mixture_of(SCHEDULES[name])
    ends = mixture.schedule.time(torch.tensor([-2.0, 3.0], dtype=torch.float64))
    x = mixture.schedule.alpha(ends[0]) * 0.3 + mixture.schedule.sigma(ends[0]) * double_noise(8).start()
    return mixture, x, exact_solution(mixture, x, ends)


@pytest.mark.parametrize(("name", "order"), [("ddim", 1), ("euler", 1), ("heun", 2), ("dpmpp_2m", 2)])
@pytest.mark.parametrize("schedule_name", SCHEDULES)
def test_converges_at_its_order(schedule_name, name, order):
    mixture, x, truth = exact_path(schedule_name)
    sampler = SAMPLERS[name](mixture.schedule)
    assert sampler.order == order
    errors = []
    for steps in (80, 160):
        times = mixture.schedule.time(torch.linspace(-2, 3, steps + 1, dtype=torch.float64))
        errors.append((integrate(mixture, x, double_noise(8), sampler, times) - truth).norm().item())
    assert abs(math.log2(errors[0] / errors[1]) - order) < 0.1


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: type(grid).__name__)
def test_finite_from_pure_noise_to_no_noise(mixture, name, grid):
    """Also at zero terminal SNR; and the last step is x0 itself, so samples lie within the data's reach."""
    x0 = sample(mixture, double_noise(16), SAMPLERS[name](mixture.schedule), grid(mixture.schedule, 20))
    assert x0.isfinite().all()
    assert x0.abs().max() < 4  # means within 1.2, deviations within 0.5


@pytest.mark.parametrize("name", ["euler", "heun", "dpmpp_2m", "ddim"])
def test_start_at_no_signal_converges_too(name):
    """From t = 1 of a schedule without terminal signal, twice the steps halve the error at least."""
    mixture = mixture_of(SCHEDULES["cosine"])
    sampler, noise = SAMPLERS[name](mixture.schedule), double_noise(16)
    fine = sample(mixture, noise, DPMSolverMultistep(mixture.schedule), Uniform()(mixture.schedule, 1000))
    errors = [
        (sample(mixture, noise, sampler, Uniform()(mixture.schedule, steps)) - fine).norm() for steps in (50, 100)
    ]
    assert errors[0] / errors[1] > 1.8


def test_ddim_without_eta_is_euler(mixture):
    grid = Uniform()(mixture.schedule, 20)
    results = [sample(mixture, double_noise(16), kind(mixture.schedule), grid) for kind in (DDIM, Euler)]
    torch.testing.assert_close(*results, rtol=0, atol=1e-10)


def test_multistep_of_first_order_is_euler(mixture):
    grid = Uniform()(mixture.schedule, 20)
    samplers = DPMSolverMultistep(mixture.schedule, order=1), Euler(mixture.schedule)
    results = [sample(mixture, double_noise(16), sampler, grid) for sampler in samplers]
    torch.testing.assert_close(*results, rtol=0, atol=1e-10)


def test_ddim_with_full_eta_is_ddpm(mixture):
    grid = Uniform()(mixture.schedule, 20)
    samplers = DDIM(mixture.schedule, eta=1.0), DDPM(mixture.schedule)
    results = [sample(mixture, double_noise(16), sampler, grid) for sampler in samplers]
    torch.testing.assert_close(*results, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["ddpm", "ddim eta 0.5"])
def test_stochastic_steps_keep_the_marginal_law(schedule, name):
    """With the true x0 for an estimate, x_s has exactly the mean and the variance of q(x_s | x0).

    A step is affine in x_t and its noise, so switching on one source at a time reads the law off without chance.
    """
    sampler, x0 = SAMPLERS[name](schedule), torch.ones(3, dtype=torch.float64)
    t, s = torch.tensor([0.7, 0.4], dtype=torch.float64)

    class OneAtATime(NoiseSource):
        def between(self, t, s):
            return torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)

    x_t = schedule.alpha(t) * x0 + schedule.sigma(t) * torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    mean, from_x, from_noise = sampler.step(lambda *_: x0, x_t, t, s, None, OneAtATime([0], ()))
    torch.testing.assert_close(mean, schedule.alpha(s))
    torch.testing.assert_close((from_x - mean) ** 2 + (from_noise - mean) ** 2, schedule.sigma(s) ** 2)


@pytest.mark.parametrize("name", SAMPLERS)
def test_costs_what_it_declares(name):
    mixture = mixture_of(SCHEDULES["flow"])
    sampler, calls = SAMPLERS[name](mixture.schedule), []
    times = torch.linspace(0.9, 0.1, 9, dtype=torch.float64)
    noise = double_noise(2)
    integrate(lambda x, t: calls.append(t) or mixture(x, t), noise.start(), noise, sampler, times)
    assert len(calls) == 8 * sampler.evaluations


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sample_does_not_depend_on_its_batch(name):
    mixture = mixture_of(SCHEDULES["cosine"])
    sampler, grid = SAMPLERS[name](mixture.schedule), Uniform()(mixture.schedule, 10)
    many = sample(mixture, NoiseSource(sample_seeds(0, 0, 64), (2,), torch.float64), sampler, grid)
    for k in (0, 5, 63):
        one = sample(mixture, NoiseSource(sample_seeds(0, k, k + 1), (2,), torch.float64), sampler, grid)
        torch.testing.assert_close(one[0], many[k], rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", SAMPLERS)
def test_calls_with_other_shapes_do_not_touch_each_other(name):
    """Images, sounds and clouds, of changing sizes and batches, in turn through one sampler object."""
    schedule = SCHEDULES["cosine"]
    sampler, grid = SAMPLERS[name](schedule), Uniform()(schedule, 4)
    results = []
    for size, count in [((1, 4, 6), 2), ((2, 10), 3), ((3, 5), 1), ((1, 4, 6), 2)]:
        mixture = mixture_of(schedule)
        mixture.means = torch.linspace(-1, 1, 3).double().reshape(3, *[1] * len(size)).expand(3, *size)
        results.append(sample(mixture, double_noise(count, size), sampler, grid))
        assert results[-1].shape == (count, *size)
    torch.testing.assert_close(results[0], results[-1], rtol=0, atol=0)


def test_on_step_sees_every_step():
    mixture, seen = mixture_of(SCHEDULES["flow"]), []
    grid = Uniform()(mixture.schedule, 5)
    x0 = sample(mixture, double_noise(2), Euler(mixture.schedule), grid, on_step=lambda done, x: seen.append((done, x)))
    assert [done for done, _ in seen] == [1, 2, 3, 4, 5]
    assert torch.equal(seen[-1][1], x0)


def test_samples_have_the_mixtures_law():
    """2000 samples: the mean is within 4 standard errors of the truth (chance of a false alarm below 2e-4)."""
    mixture = mixture_of(SCHEDULES["cosine"])
    x0 = sample(mixture, double_noise(2000), DPMSolverMultistep(mixture.schedule), Uniform()(mixture.schedule, 50))
    mean = (mixture.weights[:, None] * mixture.means).sum(0)
    assert ((x0.mean(0) - mean).abs() < 4 * x0.std(0) / np.sqrt(2000)).all()


@pytest.mark.parametrize("times", [[1.0, 0.5], [0.5, 0.5, 0.0], [0.2, 0.5, 0.0], [1.5, 0.0], [0.0]])
def test_a_grid_that_is_none_is_refused(times):
    mixture = mixture_of(SCHEDULES["flow"])
    with pytest.raises(ValueError, match="decreases strictly"):
        sample(mixture, double_noise(1), Euler(mixture.schedule), torch.tensor(times))
