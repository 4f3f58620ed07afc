"""Mutation tests: the sampler tests catch known mistakes, introduced one at a time.

Each mutation is a sampler as another library ships or nearly shipped it. The correct samplers pass the same checks.
"""

from dataclasses import dataclass

import pytest
import torch

from multidiff.diffusion.samplers import DDPM, Ancestral, DPMSolverMultistep, DPMSolverSinglestep, Euler, Heun, UniPC
from multidiff.diffusion.samplers.exponential import DataEquation, exponential_weights
from multidiff.diffusion.samplers.noise_level import NoiseLevel, euler_step, noise_estimate

from .family import CACHED
from .test_samplers_law import certify_step, law_error, slope, third_order_mean_error
from .test_samplers_order import certify_order, certify_polynomials

SCHEDULE = CACHED["cosine"]


@dataclass(frozen=True)
class PhiForm(DPMSolverMultistep):
    """The third-order multistep written with phi functions and differences, as in k-diffusion and diffusers.

    ``x_s = e^-H x + (1 - e^-H) D + phi_2 D1 - second phi_3 D2`` with ``phi_3 = phi_2 / H - half`` and H for the rate
    times the step. D2 is a divided difference, half of the second derivative, so it counts twice.
    """

    order: int = 3
    second: float = 2.0
    half: float = 0.5

    def weights(self, nodes, t, s):
        if len(nodes) < 3:
            return super().weights(nodes, t, s)
        h = s.log_snr - t.log_snr
        rate = self.equation.rate * h
        r0, r1 = (nodes[0].log_snr - nodes[1].log_snr) / h, (nodes[1].log_snr - nodes[2].log_snr) / h
        phi_2 = torch.expm1(-rate) / rate + 1
        phi_3 = phi_2 / rate - self.half
        estimates = torch.eye(3, dtype=torch.float64)
        d1_0, d1_1 = (estimates[0] - estimates[1]) / r0, (estimates[1] - estimates[2]) / r1
        d1, d2 = d1_0 + (d1_0 - d1_1) * r0 / (r0 + r1), (d1_0 - d1_1) / (r0 + r1)
        return self.equation.gain(s) * (-torch.expm1(-rate) * estimates[0] + phi_2 * d1 - self.second * phi_3 * d2)


def test_the_phi_form_without_a_mistake_is_dpm_solver():
    for eta in (0.0, 1.0):
        times = SCHEDULE.time(torch.tensor([-1.0, -0.7, 0.1, 0.6], dtype=torch.float64))
        nodes = [NoiseLevel.at(SCHEDULE, t) for t in times]
        ours, phi = (make(SCHEDULE, 3, eta=eta) for make in (DPMSolverMultistep, PhiForm))
        torch.testing.assert_close(*(m.weights(nodes[2::-1], nodes[2], nodes[3]) for m in (ours, phi)))
    certify_order(PhiForm(SCHEDULE))


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("mistake", [{"second": 1.0}, {"half": -0.5}], ids=["half a difference", "sign of 0.5"])
def test_mistakes_in_the_third_order_are_caught(mistake, eta):
    mistaken = PhiForm(SCHEDULE, eta=eta, **mistake)
    certify_polynomials(mistaken, 1)  # polynomials of lower degree do not reveal it
    with pytest.raises(AssertionError):
        certify_polynomials(mistaken, 2)
    if eta == 0:
        with pytest.raises(AssertionError):
            certify_order(mistaken)


@pytest.mark.parametrize("mistake", [{"second": 1.0}, {"half": -0.5}], ids=["half a difference", "sign of 0.5"])
def test_mistakes_in_the_third_order_sde_show_in_its_mean(mistake):
    right, mistaken = (
        slope(third_order_mean_error(PhiForm(SCHEDULE, eta=0.5, **m)), SCHEDULE, "uniform", 120) for m in ({}, mistake)
    )
    assert right > 3 - 0.1 > mistaken


class StaleNode(DPMSolverMultistep):
    """Past estimates are placed as if all steps had the length of the current one."""

    def weights(self, nodes, t, s):
        places = torch.stack([t.log_snr - k * (s.log_snr - t.log_snr) for k in range(len(nodes))])
        return self.equation.gain(s) * exponential_weights(places, t.log_snr, s.log_snr, self.equation.rate)


def test_nodes_that_ignore_unequal_steps_are_caught():
    mistaken = StaleNode(SCHEDULE, 2)
    with pytest.raises(AssertionError):
        certify_polynomials(mistaken, 1)


class ForgetfulCorrector(UniPC):
    """The corrector integrates from the new noise level instead of the previous one."""

    def weights(self, nodes, t, s):
        return super().weights(nodes, s if nodes[0] is s else t, s)


class UnhalvedCorrection(Heun):
    """The correction is not halved."""

    def step(self, denoise, x_t, t, s, history, noise):
        euler = Euler(self.schedule).step(denoise, x_t, t, s, history, noise)
        return 2 * super().step(denoise, x_t, t, s, history, noise) - euler


class StageAtEnd(DPMSolverSinglestep):
    """The intermediate stage is evaluated at the time of the end of the step."""

    def step(self, denoise, x_t, t, s, history, noise):
        return super().step(lambda x, u: denoise(x, t if u == t else s), x_t, t, s, history, noise)


@pytest.mark.parametrize("make", [ForgetfulCorrector, UnhalvedCorrection, StageAtEnd])
def test_mistakes_in_other_steps_are_caught(make):
    right = make.__bases__[0]
    certify_order(right(SCHEDULE))
    with pytest.raises(AssertionError):
        certify_order(make(SCHEDULE))


def certify_law(sampler, steps):
    def error(schedule, times):
        return law_error(schedule, sampler, times)

    assert slope(error, SCHEDULE, "uniform", steps) > sampler.weak_order - 0.1


class WrongSigmaEquation(DataEquation):
    """The noise of a step is scaled by sigma at the start of the step."""

    def noise_std(self, t, s):
        return t.sigma * torch.sqrt(-torch.expm1(2 * self.eta * (t.log_snr - s.log_snr)))


class WrongSigma(DPMSolverMultistep):
    @property
    def equation(self):
        return WrongSigmaEquation(self.eta)


class WrongAncestral(Ancestral):
    """``u = sqrt(r_s^2 (r_t^2 - r_s^2)) / r_t`` with r_t in place of the first r_s under the root."""

    def step(self, denoise, x_t, t, s, history, noise):
        here, there = NoiseLevel.at(self.schedule, t), NoiseLevel.at(self.schedule, s)
        up = torch.sqrt(here.ratio**2 - there.ratio**2) * there.ratio / here.ratio
        down, wrong = torch.sqrt(there.ratio**2 - up**2), torch.sqrt(here.ratio**2 - there.ratio**2)
        x0 = denoise(x_t, t)
        x = there.alpha * (x0 + down * noise_estimate(x_t, x0, here))
        return x + there.alpha * wrong * noise.between(t, s)


class UnrelatedNoise(DPMSolverSinglestep):
    """The stage uses independent noise instead of the first part of the step's noise."""

    def step(self, denoise, x_t, t, s, history, noise):
        class Unrelated:
            def between(self, start, stop):
                return noise.between(start, stop) if stop == s else noise.branch(1).between(start, stop)

        return super().step(denoise, x_t, t, s, history, Unrelated())


class TwiceTheNoise(DDPM):
    """The noise has the variance of x_t given x_s instead of the posterior variance."""

    def step(self, denoise, x_t, t, s, history, noise):
        here, there = NoiseLevel.at(self.schedule, t), NoiseLevel.at(self.schedule, s)
        lost = here.sigma**2 - (here.alpha / there.alpha * there.sigma) ** 2
        return euler_step(x_t, denoise(x_t, t), here, there) + torch.sqrt(lost) * noise.between(t, s)


@pytest.mark.parametrize(
    ("mistaken", "right", "steps"),
    [
        (WrongSigma(SCHEDULE, 2, eta=1.0), DPMSolverMultistep(SCHEDULE, 2, eta=1.0), 40),
        pytest.param(
            UnrelatedNoise(SCHEDULE, 2, eta=1.0),
            DPMSolverSinglestep(SCHEDULE, 2, eta=1.0),
            120,
            marks=pytest.mark.slow,
        ),
        (TwiceTheNoise(SCHEDULE), DDPM(SCHEDULE), 40),
    ],
    ids=lambda value: type(value).__name__,
)
def test_mistakes_in_the_noise_are_caught(mistaken, right, steps):
    certify_law(right, steps)
    with pytest.raises(AssertionError):
        certify_law(mistaken, steps)


@pytest.mark.parametrize("mistaken", [WrongSigma(SCHEDULE, eta=1.0), WrongAncestral(SCHEDULE, Euler)])
def test_one_step_reveals_a_sigma_of_the_wrong_end(mistaken):
    """A first-order method hides the mistake in the limit, but not in the variance of one step."""
    with pytest.raises(AssertionError):
        certify_step(mistaken)
