"""Every sampler with its order, and the error measurement that the sampler tests share."""

import math
from collections import deque
from functools import cache, partial
from itertools import pairwise

import torch
from scipy.integrate import solve_ivp

from multidiff.diffusion.noise import NoiseSource, sample_seeds
from multidiff.diffusion.samplers import (
    DDIM,
    DDPM,
    DEIS,
    IPNDM,
    LCM,
    LMS,
    Adaptive,
    Ancestral,
    Consistency,
    DPMSolverMultistep,
    DPMSolverSinglestep,
    Euler,
    Heun,
    Midpoint,
    Restart,
    SASolver,
    UniPC,
)
from multidiff.diffusion.schedules import Schedule

from .conftest import SCHEDULES, mixture_of

ORDERS = {
    "euler": (1, Euler),
    "midpoint": (2, Midpoint),
    "heun": (2, Heun),
    "ipndm": (2, IPNDM),
    "sa_solver ode 2": (3, partial(SASolver, predictor_order=2, eta=0.0)),
    **{f"lms {k}": (k, partial(LMS, order=k)) for k in (2, 3, 4)},
    **{f"deis {k}": (k, partial(DEIS, order=k)) for k in (2, 3, 4)},
    **{f"dpm_solver_{k}s": (k, partial(DPMSolverSinglestep, order=k, form="noise")) for k in (2, 3)},
    **{f"dpmpp_{k}s": (k, partial(DPMSolverSinglestep, order=k)) for k in (2, 3)},
    **{f"dpm_solver_{k}m": (k, partial(DPMSolverMultistep, order=k, form="noise")) for k in (2, 3)},
    **{f"dpmpp_{k}m": (k, partial(DPMSolverMultistep, order=k)) for k in (2, 3, 4)},
    **{
        f"unip_{p} {b}": (p, partial(UniPC, predictor_order=p, corrector=False, b=b))
        for p, b in [(2, "bh1"), (2, "bh2"), (3, "bh2")]
    },
    **{
        f"unipc_{p} {b}": (p + 1, partial(UniPC, predictor_order=p, b=b))
        for p, b in [(1, "bh1"), (1, "bh2"), (2, "bh1"), (2, "bh2"), (3, "bh2")]
    },
    "unipc_3 noise": (4, partial(UniPC, predictor_order=3, form="noise")),
}
"""Deterministic samplers with fixed steps: order and constructor."""

FIRST_ORDER = {
    "ddim": DDIM,
    "dpm_solver_1": partial(DPMSolverSinglestep, order=1, form="noise"),
    "dpmpp_1": partial(DPMSolverSinglestep, order=1),
    "dpm_solver_1m": partial(DPMSolverMultistep, order=1, form="noise"),
    "dpmpp_1m": partial(DPMSolverMultistep, order=1),
    "unip_1": partial(UniPC, predictor_order=1, corrector=False),
    "lms 1": partial(LMS, order=1),
    "deis 1": partial(DEIS, order=1),
    "ipndm 1": partial(IPNDM, estimates=1),
    "ancestral without noise": partial(Ancestral, method=Euler, eta=0.0),
}
"""Samplers that are equal to Euler's method."""

DETERMINISTIC = {**{name: make for name, (_, make) in ORDERS.items()}, **FIRST_ORDER, "adaptive": Adaptive}

REVERSE_SDE = {
    "dpmpp_sde": partial(DPMSolverSinglestep, eta=1.0),
    "dpmpp_3s_sde": partial(DPMSolverSinglestep, order=3, eta=1.0),
    "dpm_solver_sde": partial(DPMSolverSinglestep, form="noise", eta=1.0),
    "dpmpp_1m_sde": partial(DPMSolverMultistep, order=1, eta=1.0),
    "dpmpp_2m_sde": partial(DPMSolverMultistep, eta=1.0),
    "dpmpp_2m_sde eta 0.5": partial(DPMSolverMultistep, eta=0.5),
    "dpm_solver_2m_sde": partial(DPMSolverMultistep, form="noise", eta=1.0),
    "dpmpp_3m_sde": partial(DPMSolverMultistep, order=3, eta=1.0),
    "sa_solver 1": partial(SASolver, predictor_order=1),
    "sa_solver 2": SASolver,
    "sa_solver 3": partial(SASolver, predictor_order=3),
}
"""Solvers of the reverse SDE with constant eta."""

STOCHASTIC = {
    **REVERSE_SDE,
    "ddpm": DDPM,
    "ddim eta 0.5": partial(DDIM, eta=0.5),
    "euler_a": partial(Ancestral, method=Euler),
    "dpmpp_2s_a": partial(Ancestral, method=DPMSolverSinglestep),
    "dpmpp_2s_a eta 0.5": partial(Ancestral, method=DPMSolverSinglestep, eta=0.5),
    "edm_churn": partial(Heun, churn=0.2, churn_min=0.05, churn_max=50.0),
    "restart": partial(Restart, method=Heun),
    "restart twice": partial(Restart, method=partial(Restart, method=DPMSolverMultistep), low=0.3, high=0.9),
}

STEPS = dict.fromkeys(ORDERS, 16) | {
    **{"ipndm": 40, "lms 2": 40, "lms 3": 80, "lms 4": 160, "deis 2": 40, "deis 3": 160, "deis 4": 240},
    **{
        "dpm_solver_2m": 40,
        "dpm_solver_3m": 24,
        "dpmpp_2s": 24,
        "dpmpp_4m": 80,
        "unipc_3 bh2": 160,
        "unipc_3 noise": 160,
    },
}
"""Number of steps from which the error is in the asymptotic regime."""

FEW_STEP = {"consistency": Consistency, "lcm": LCM}

SAMPLERS = {**DETERMINISTIC, **STOCHASTIC, **FEW_STEP}

FIRST, LAST = -2.0, 3.0
"""Range of log SNR in which orders are measured: log SNR is infinite at the ends of the schedule."""


class Cached(Schedule):
    """A schedule that computes each value once: the tests evaluate the same few thousand times repeatedly."""

    def __init__(self, schedule):
        self.alpha, self.sigma, self.time = (cached(f) for f in (schedule.alpha, schedule.sigma, schedule.time))

    alpha = sigma = time = None  # set for each instance


def cached(function):
    known = {}

    def lookup(value):
        if value.ndim:
            return function(value)
        key = float(value)
        if key not in known:
            known[key] = function(value)
        return known[key]

    return lookup


CACHED = {name: Cached(schedule) for name, schedule in SCHEDULES.items()}


TWO = ("cosine", "flow")
"""Schedules that stand for all: test_samplers.py shows that x0 depends on the grid of log SNR alone."""


class ZeroNoise(NoiseSource):
    """For one sample of 2 dimensions."""

    def __init__(self):
        super().__init__([0], (2,), torch.float64)

    def between(self, t, s):
        return torch.zeros(1, 2, dtype=torch.float64)


def double_noise(count, size=(2,), seed=0):
    return NoiseSource(sample_seeds(seed, 0, count), size, torch.float64)


def log_snr_grid(spacing, steps):
    """From ``FIRST`` to ``LAST``, equally spaced or with EDM's spacing."""
    if spacing == "uniform":
        return torch.linspace(FIRST, LAST, steps + 1, dtype=torch.float64)
    roots = torch.linspace(math.exp(-FIRST / 7), math.exp(-LAST / 7), steps + 1, dtype=torch.float64)
    return -7 * torch.log(roots)


@cache
def exact_path():
    """``x / alpha`` of 8 solutions of the mixture's ODE as a function of log SNR, the same for every schedule."""
    mixture = mixture_of(CACHED["cosine"])

    def slope(log_ratio, z):
        t = mixture.schedule.time(torch.tensor(-log_ratio, dtype=torch.float64))
        z = torch.from_numpy(z).reshape(8, 2)
        return (z - mixture(mixture.schedule.alpha(t) * z, t)).flatten().numpy()

    start = 0.3 + math.exp(-FIRST) * double_noise(8).start()
    options = {"method": "DOP853", "rtol": 1e-12, "atol": 1e-12, "max_step": 0.05, "dense_output": True}
    path = solve_ivp(slope, (-FIRST, -LAST), start.flatten().numpy(), **options).sol
    return lambda log_snr: torch.from_numpy(path(-float(log_snr))).reshape(8, 2)


def path_error(mixture, sampler, log_snr, exact_start=0):
    """Distance from the exact path at the end, with exact results of the first ``exact_start`` steps."""
    schedule, history, noise = mixture.schedule, deque(), double_noise(8)
    times = schedule.time(log_snr)
    x = schedule.alpha(times[0]) * exact_path()(log_snr[0])
    for k, (t, s) in enumerate(pairwise(times)):
        x = sampler.step(mixture, x, t, s, history, noise)
        if k < exact_start:
            x = schedule.alpha(s) * exact_path()(log_snr[k + 1])
            history[0] = history[0]._replace(base=None)  # nothing to correct
    return (x - schedule.alpha(times[-1]) * exact_path()(log_snr[-1])).norm().item()


def measured_order(mixture, sampler, spacing, steps, exact_start=0):
    """Slope of the error from ``steps`` to 4 times as many."""
    errors = [path_error(mixture, sampler, log_snr_grid(spacing, n), exact_start) for n in (steps, 4 * steps)]
    return math.log2(errors[0] / errors[1]) / 2
