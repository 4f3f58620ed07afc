"""Samplers agree where theory says so, stay finite at both ends, and do not depend on the batch."""

from dataclasses import dataclass
from functools import cache, partial
from itertools import cycle

import numpy as np
import pytest
import torch

from multidiff.diffusion.grids import KarrasRho, Uniform
from multidiff.diffusion.noise import NoiseSource, sample_seeds
from multidiff.diffusion.samplers import (
    DDIM,
    DDPM,
    Ancestral,
    DPMSolverMultistep,
    DPMSolverSinglestep,
    Euler,
    Heun,
    Restart,
    UniPC,
    integrate,
    sample,
)
from multidiff.diffusion.schedules import Cosine

from .conftest import SCHEDULES, mixture_of
from .family import (
    DETERMINISTIC,
    FIRST,
    FIRST_ORDER,
    SAMPLERS,
    STOCHASTIC,
    ZeroNoise,
    double_noise,
    exact_path,
    log_snr_grid,
    path_error,
)

GRIDS = (Uniform(), KarrasRho())


@pytest.mark.parametrize(("name", "first"), list(zip(SAMPLERS, cycle([0, 1]))))
def test_finite_from_pure_noise_to_no_noise(name, first):
    """Under every schedule, also at zero terminal SNR, with the two grids in turn."""
    for number, schedule in enumerate(SCHEDULES.values(), first):
        grid = GRIDS[number % 2](schedule, 5)
        x0 = sample(mixture_of(schedule), double_noise(16), SAMPLERS[name](schedule), grid)
        assert x0.isfinite().all(), (schedule, grid)


@pytest.mark.parametrize("name", ["euler", "heun", "dpmpp_2m", "ddim", "unipc_2 bh2", "dpmpp_3s", "deis 3"])
def test_a_start_at_zero_signal_converges(name):
    """From t = 1 of a schedule with zero terminal SNR, doubling the steps at least halves the error."""
    sampler = SAMPLERS[name](SCHEDULES["cosine"])
    errors = [(from_zero_signal(sampler, steps) - fine_from_zero_signal()).norm() for steps in (50, 100)]
    assert errors[0] / errors[1] > 1.8


def from_zero_signal(sampler, steps):
    return sample(mixture_of(sampler.schedule), double_noise(16), sampler, Uniform()(sampler.schedule, steps))


@cache
def fine_from_zero_signal():
    return from_zero_signal(DPMSolverMultistep(SCHEDULES["cosine"]), 1000)


def assert_same(mixture, one, other):
    grid = Uniform()(mixture.schedule, 8)
    results = [sample(mixture, double_noise(16), make(mixture.schedule), grid) for make in (one, other)]
    torch.testing.assert_close(*results, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", FIRST_ORDER)
def test_first_order_is_euler_by_any_name(mixture, name):
    assert_same(mixture, FIRST_ORDER[name], Euler)


@pytest.mark.parametrize("name", ["ddim eta 1", "euler_a"])
def test_ancestral_sampling_is_ddpm_by_any_name(mixture, name):
    make = {"ddim eta 1": partial(DDIM, eta=1.0), "euler_a": partial(Ancestral, method=Euler)}[name]
    assert_same(mixture, make, DDPM)


def test_ancestral_euler_is_ddim_with_eta(mixture):
    assert_same(mixture, partial(Ancestral, method=Euler, eta=0.4), partial(DDIM, eta=0.4))


def test_sde_solvers_of_first_order_are_ddpm(mixture):
    """Where there is signal: at zero signal they start with a step of the ODE."""
    times = torch.linspace(0.9, 0, 20, dtype=torch.float64)
    x, noise = double_noise(16).start(), double_noise(16)
    makes = DDPM, partial(DPMSolverMultistep, order=1, eta=1.0), partial(DPMSolverSinglestep, order=1, eta=1.0)
    results = [integrate(mixture, x, noise, make(mixture.schedule), times) for make in makes]
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-9)
    torch.testing.assert_close(results[0], results[2], rtol=0, atol=1e-9)


def test_unip_with_three_estimates_is_dpm_solver(mixture):
    third = partial(UniPC, predictor_order=3, corrector=False)
    assert path_error(mixture, third(mixture.schedule), log_snr_grid("uniform", 10), exact_start=3) == pytest.approx(
        path_error(mixture, DPMSolverMultistep(mixture.schedule, 3), log_snr_grid("uniform", 10), exact_start=3)
    )


INVARIANT = [name for name in SAMPLERS if not name.startswith(("deis", "adaptive", "lcm", "edm_churn", "restart"))]


@pytest.mark.parametrize("name", INVARIANT)
def test_x0_depends_on_the_log_snr_grid_alone(name):
    """Under every schedule, where no noise is added: what is certified under one holds under all.

    DEIS and LCM depend on time, the adaptive tolerance on x, and churn and restarts add noise of other times.
    """
    results = []
    for schedule in SCHEDULES.values():
        mixture = mixture_of(schedule)
        times = torch.cat([schedule.time(log_snr_grid("karras", 8)), torch.zeros(1, dtype=torch.float64)])
        x = schedule.alpha(times[0]) * exact_path()(FIRST)
        results.append(integrate(mixture, x, ZeroNoise(), SAMPLERS[name](schedule), times))
    for result in results:
        torch.testing.assert_close(result, results[0], rtol=0, atol=1e-9)


def evaluations(sampler, times):
    schedule, calls, noise = sampler.schedule, [], double_noise(2)
    mixture = mixture_of(schedule)
    integrate(lambda x, t: calls.append(t) or mixture(x, t), noise.start(), noise, sampler, times)
    return len(calls)


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name not in {"adaptive", "restart", "restart twice"}])
def test_takes_the_declared_evaluations(name):
    sampler = SAMPLERS[name](SCHEDULES["flow"])
    assert evaluations(sampler, torch.linspace(0.9, 0.1, 9, dtype=torch.float64)) == 8 * sampler.evaluations


def test_a_restart_takes_its_steps_once():
    schedule, times = SCHEDULES["flow"], torch.linspace(0.9, 0.1, 9, dtype=torch.float64)
    assert evaluations(Restart(schedule, Heun, low=0.5, high=2.0, repeats=3, steps=5), times) == 2 * (8 + 3 * 5)
    assert evaluations(Restart(schedule, Heun, low=0.01), times) == 2 * 8  # below the grid


def test_the_adaptive_solver_takes_three_evaluations_per_attempt():
    """And fewer attempts at a higher tolerance."""
    schedule, times = SCHEDULES["flow"], torch.tensor([0.9, 0.1], dtype=torch.float64)
    counts = [evaluations(DETERMINISTIC["adaptive"](schedule, rtol=rtol, atol=rtol), times) for rtol in (1e-2, 1e-4)]
    assert counts[0] < counts[1]
    assert all(count % 3 == 0 for count in counts)


@pytest.mark.parametrize("name", [name for name in STOCHASTIC if name != "edm_churn" and "restart" not in name])
def test_more_steps_follow_the_same_path(name):
    """With the same seed, a finer grid refines the sample: the distance to the finest falls with the number of steps.

    Not with churn, which is set per step, nor with restarts, which use separate noise.
    """
    mixture = mixture_of(SCHEDULES["karras"])
    sampler, noise = STOCHASTIC[name](mixture.schedule), double_noise(32)
    x0 = [sample(mixture, noise, sampler, Uniform()(mixture.schedule, steps)) for steps in (12, 48, 144)]
    other = sample(mixture, double_noise(32, seed=1), sampler, Uniform()(mixture.schedule, 12))
    coarse, fine, unrelated = ((x - x0[-1]).square().mean().sqrt() for x in (x0[0], x0[1], other))
    assert fine < 0.6 * coarse
    assert fine < 0.2 * unrelated


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sample_does_not_depend_on_its_batch(name):
    mixture = mixture_of(SCHEDULES["cosine"])
    sampler, grid = SAMPLERS[name](mixture.schedule), Uniform()(mixture.schedule, 10)
    many = sample(mixture, NoiseSource(sample_seeds(0, 0, 8), (2,), torch.float64), sampler, grid)
    for k in (0, 5, 7):
        one = sample(mixture, NoiseSource(sample_seeds(0, k, k + 1), (2,), torch.float64), sampler, grid)
        torch.testing.assert_close(one[0], many[k], rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", SAMPLERS)
def test_calls_with_different_shapes_are_independent(name):
    """Images, sounds and point clouds of different sizes and batches, in turn with one sampler object."""
    schedule = SCHEDULES["cosine"]
    sampler, grid = SAMPLERS[name](schedule), Uniform()(schedule, 4)
    results = []
    for size, count in [((1, 4, 6), 2), ((2, 10), 3), ((3, 5), 1), ((1, 4, 6), 2)]:
        mixture = mixture_of(schedule)
        mixture.means = torch.linspace(-1, 1, 3).double().reshape(3, *[1] * len(size)).expand(3, *size)
        results.append(sample(mixture, double_noise(count, size), sampler, grid))
        assert results[-1].shape == (count, *size)
    torch.testing.assert_close(results[0], results[-1], rtol=0, atol=0)


def test_on_step_is_called_after_every_step():
    mixture, calls = mixture_of(SCHEDULES["flow"]), []
    grid = Uniform()(mixture.schedule, 5)
    x0 = sample(
        mixture, double_noise(2), Euler(mixture.schedule), grid, on_step=lambda done, x: calls.append((done, x))
    )
    assert [done for done, _ in calls] == [1, 2, 3, 4, 5]
    assert torch.equal(calls[-1][1], x0)


def test_samples_have_the_distribution_of_the_mixture():
    """2000 samples: the mean is within 4 standard errors of the truth (chance of a false alarm below 2e-4)."""
    mixture = mixture_of(SCHEDULES["cosine"])
    x0 = sample(mixture, double_noise(2000), DPMSolverMultistep(mixture.schedule), Uniform()(mixture.schedule, 50))
    mean = (mixture.weights[:, None] * mixture.means).sum(0)
    assert ((x0.mean(0) - mean).abs() < 4 * x0.std(0) / np.sqrt(2000)).all()


@pytest.mark.parametrize("times", [[1.0, 0.5], [0.5, 0.5, 0.0], [0.2, 0.5, 0.0], [1.5, 0.0], [0.0]])
def test_an_invalid_grid_is_refused(times):
    mixture = mixture_of(SCHEDULES["flow"])
    with pytest.raises(ValueError, match="must decrease strictly"):
        sample(mixture, double_noise(1), Euler(mixture.schedule), torch.tensor(times))


def test_a_schedule_need_not_be_hashable():
    @dataclass
    class Plain(Cosine):
        shift: float = 0.0

    with pytest.raises(TypeError, match="unhashable"):
        hash(Plain())
    plain, hashable = (mixture_of(schedule) for schedule in (Plain(), Cosine()))
    x0, same = (sample(m, double_noise(4), Heun(m.schedule), KarrasRho()(m.schedule, 5)) for m in (plain, hashable))
    torch.testing.assert_close(x0, same, rtol=0, atol=0)
