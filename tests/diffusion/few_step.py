"""The exact solution map and average velocity of a mixture in 1 dimension, and exact expectations of losses over it."""

import math

import numpy as np
import torch
from torch import nn

from multidiff.diffusion.denoiser import Denoiser, NetworkDenoiser, coefficients
from multidiff.diffusion.mixture import GaussianMixture
from multidiff.diffusion.objectives import Context, Uniform
from multidiff.diffusion.predictions import Velocity

MEANS, STDS, WEIGHTS = (torch.tensor(v).double() for v in ([-0.9, 0.7], [0.3, 0.4], [0.6, 0.4]))
STEPS = 50
BATCH = 128


def mixture_1d(schedule, shift=0.0):
    return GaussianMixture(schedule, MEANS[:, None] + shift, STDS, WEIGHTS)


def gaussian_1d(schedule, mean=0.3, std=0.6):
    return GaussianMixture(schedule, *(torch.tensor(v).double() for v in ([[mean]], [std], [1.0])))


def samples(law, count, generator):
    component = torch.multinomial(law.weights, count, replacement=True, generator=generator)
    noise = torch.randn(count, 1, generator=generator, dtype=torch.float64)
    return law.means[component] + law.stds[component, None] * noise


def solve(law, x_t, t, s, steps=STEPS):
    """x at time ``s`` on the path of the ODE through ``x_t`` at ``t``: the Runge-Kutta method of order 4.

    In ``z = x / sqrt(alpha^2 + sigma^2)`` and the angle ``arctan(sigma / alpha)``, in which it has no singularity.
    """
    (a, sigma), (a_s, sigma_s) = (coefficients(law.schedule, time, x_t) for time in (t, s))
    start, end = torch.atan2(sigma, a), torch.atan2(sigma_s, a_s)
    z, h = x_t / torch.hypot(a, sigma), (end - start) / steps
    for i in range(steps):
        angle = start + i * h
        k1 = slope(law, z, angle)
        k2 = slope(law, z + h / 2 * k1, angle + h / 2)
        k3 = slope(law, z + h / 2 * k2, angle + h / 2)
        k4 = slope(law, z + h * k3, angle + h)
        z = z + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return z * torch.hypot(a_s, sigma_s)


def transported(law, x_t, t, s):
    """As `solve`, for one component, whose standardised samples do not change along the ODE."""
    (a, sigma), (a_s, sigma_s) = (coefficients(law.schedule, time, x_t) for time in (t, s))
    deviations = torch.hypot(a_s * law.stds, sigma_s) / torch.hypot(a * law.stds, sigma)
    return a_s * law.means + deviations * (x_t - a * law.means)


def slope(law, z, angle):
    """``cos noise - sin x0``, with the posterior means of both."""
    a, s = torch.cos(angle), torch.sin(angle)
    variance = (a * law.stds) ** 2 + s**2
    offset = z - a * law.means[:, 0]
    likelihood = law.weights * torch.exp(-(offset**2) / variance / 2) / torch.sqrt(variance)
    posterior = likelihood / likelihood.sum(1, keepdim=True)
    x0 = law.means[:, 0] + a * law.stds**2 / variance * offset
    return (posterior * (a * s * offset / variance - s * x0)).sum(1, keepdim=True)


class Exact(Denoiser):
    """A student that is exact for ``shift = 0``; ``shift`` times its gain, the sine of the angle, is added to it."""

    def __init__(self, law, shift=0.0, steps=STEPS):
        super().__init__()
        self.law, self.schedule, self.prediction, self.steps = law, law.schedule, Velocity(), steps
        self.shift = nn.Parameter(torch.tensor(shift).double())

    def forward(self, x_t, t, cond=None, s=None, scale=None):
        a, sigma = coefficients(self.schedule, t, x_t)
        return self.estimate(x_t, t, t if s is None else s) + self.shift * sigma / torch.hypot(a, sigma)


class SolutionMap(Exact):
    def estimate(self, x_t, t, s):
        if len(self.law.stds) == 1:
            return transported(self.law, x_t, t, torch.zeros_like(t))
        return solve(self.law, x_t, t, torch.zeros_like(t), self.steps)


class AverageVelocity(Exact):
    """The estimate ``y_t - r_t u``, with the exact average velocity from t to s."""

    inputs = ("second_time",)

    def estimate(self, x_t, t, s):
        move = transported if len(self.law.stds) == 1 else solve
        (a, sigma), (a_s, sigma_s) = (coefficients(self.schedule, time, x_t) for time in (t, s))
        width, end = a + sigma, a_s + sigma_s
        gap = sigma / width - sigma_s / end
        near = gap == 0
        y = x_t / width
        u = (y - move(self.law, x_t, t, s) / end) / torch.where(near, 1.0, gap)
        return torch.where(near, self.law(x_t, t), y - sigma / width * u)


def pairs_through(law, t, order=8):
    """x0 and noise, ``(N, 1)``, of samples that pass a dozen places at time ``t``, with the weights of a quadrature.

    The weights integrate over x0 given x_t, which is a Gaussian for each component; all places weigh the same.
    """
    time = torch.tensor(t).double()
    a, sigma = law.schedule.alpha(time), law.schedule.sigma(time)
    x_t = torch.linspace(-1.6, 1.6, 12).double()[:, None, None] * torch.hypot(a, sigma)
    means, stds = law.means[:, :1], law.stds[:, None]
    nodes, weights = (torch.from_numpy(v) for v in np.polynomial.hermite_e.hermegauss(order))
    variance = (a * stds) ** 2 + sigma**2
    posterior = torch.softmax(
        law.weights[:, None].log() - (x_t - a * means) ** 2 / variance / 2 - variance.log() / 2, 1
    )
    x0 = means + a * stds**2 / variance * (x_t - a * means) + sigma * stds / variance.sqrt() * nodes
    mass = posterior * weights / math.sqrt(2 * math.pi) / len(x_t)
    return x0.reshape(-1, 1), ((x_t - a * x0) / sigma).reshape(-1, 1), mass.flatten()


def gradient(objective, student, t, teacher=None, progress=1.0, **context):
    """The derivative of the expected loss at time ``t`` with respect to the shift of an `Exact` student."""
    x0, noise, weights = pairs_through(student.law, t)
    given = Context(student, x0, None, torch.Generator().manual_seed(0), teacher=teacher, progress=progress, **context)
    loss = objective.at(given, torch.full((len(x0),), t, dtype=torch.float64), noise)
    return torch.autograd.grad((weights * loss).sum(), student.shift)[0].item()


class Perceptron(nn.Module):
    """A network for samples in 1 dimension, with any further inputs."""

    def __init__(self, *inputs, width=64):
        super().__init__()
        self.inputs = inputs
        sizes = [(3 + 2 * len(inputs), width), (width, width), (width, width)]
        hidden = [nn.Sequential(nn.Linear(*size), nn.SiLU()) for size in sizes]
        self.layers = nn.Sequential(*hidden, nn.Linear(width, 1))

    def forward(self, x, log_snr, cond, further=None):
        values = dict(further or {})
        angles = [torch.atan(torch.exp(-v)) for v in (log_snr, values.pop("second_time", log_snr))]
        features = [f(angle) for angle in angles[: 1 + ("second_time" in self.inputs)] for f in (torch.cos, torch.sin)]
        features += [f(v / 2) for v in values.values() for f in (torch.cos, torch.sin)]
        return self.layers(torch.cat([x, torch.stack(features, 1)], dim=1))


def trained(objective, law, prediction=None, steps=500, teacher=None, rate=5e-3, cond=None, teacher_cond=None, seed=0):
    """A perceptron trained with ``objective`` on samples of ``law``, averaged over its last fifth."""
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    student = NetworkDenoiser(Perceptron(*objective.inputs), law.schedule, prediction or Velocity())
    average = torch.optim.swa_utils.AveragedModel(student)
    optimizer = torch.optim.Adam(student.parameters(), rate)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        x0 = samples(law, BATCH, random).float()
        known = {"teacher": teacher, "teacher_cond": teacher_cond, "step": step, "progress": step / steps}
        loss = objective(Context(student, x0, cond, random, **known)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
        if step >= 0.8 * steps:
            average.update_parameters(student)
    return average.module.eval().requires_grad_(False)


def single(law):
    """``law`` in float32, as a teacher of networks."""
    return GaussianMixture(law.schedule, law.means.float(), law.stds.float(), law.weights.float())


def noisy(law, t, count=500):
    """Samples of the marginal at ``t``, and that time for each."""
    random = torch.Generator().manual_seed(7)
    time = torch.full((count,), t, dtype=torch.float64)
    x0 = samples(law, count, random)
    a, sigma = coefficients(law.schedule, time, x0)
    return a * x0 + sigma * torch.randn(count, 1, generator=random, dtype=torch.float64), time


TIMES = Uniform()
