"""The sampler interface, and the sampling loop that all samplers share."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.denoiser import Denoiser, alike
from multidiff.diffusion.grids import check_grid
from multidiff.diffusion.noise import NoiseSource
from multidiff.diffusion.schedules import Schedule

Denoise = Callable[..., Tensor]
"""``(x_t, t) -> x0`` estimate, with the condition bound; ``(x_t, t, s)`` for networks with a second time."""

History = deque[Any]
"""State of a multistep method, newest first; created by the loop for one call."""


class Sampler(ABC):
    """A numerical method that takes x_t to x_s. It holds settings and no state.

    Attributes:
        schedule: schedule of the denoiser.
        evaluations: network evaluations per step; the step to sigma = 0 may take fewer.
        order: order of convergence, as tested; that of the deterministic part for stochastic samplers.
        weak_order: order of convergence of the mean and the variance, which for SDE solvers can be below ``order``.
        stochastic: whether steps add noise.
        second_time: whether steps ask for estimates that lead to a second time, ``denoise(x_t, t, s)``.
    """

    schedule: Schedule
    evaluations: int
    order: int
    stochastic: bool = False
    second_time: bool = False

    @property
    def weak_order(self) -> int:
        return self.order

    @abstractmethod
    def step(self, denoise: Denoise, x_t: Tensor, t: Tensor, s: Tensor, history: History, noise: NoiseSource) -> Tensor:
        """Take ``x_t`` at time ``t`` to time ``s < t``.

        Args:
            denoise: ``(x_t, t) -> x0`` estimate.
            x_t: noisy samples, ``(B, C, *size)``.
            t: the current time, ``()`` in float64 on the CPU.
            s: the next time, likewise; at ``s = 0`` the result is an estimate of x0.
            history: for multistep methods, records of earlier steps of the same call, newest first.
            noise: noise source of stochastic steps.
        """


def check_count(name: str, count: int) -> None:
    """Raise a ValueError unless ``count`` is an integer of at least 1."""
    if not isinstance(count, int) or count < 1:
        raise ValueError(f"{name} must be an integer of at least 1, got {count!r}")


HIGHEST_ORDER = 8
"""Estimates that a multistep method interpolates at most: polynomials through more nodes oscillate beyond any use."""


def check_order(name: str, order: int) -> None:
    """Refuse a number of estimates, in the setting ``name``, that is not from 1 to `HIGHEST_ORDER`."""
    check_count(name, order)
    if order > HIGHEST_ORDER:
        raise ValueError(f"{name} must be at most {HIGHEST_ORDER}, got {order}")


def sampler_from(method: Callable[[Schedule], Sampler], schedule: Schedule) -> Sampler:
    """Build the inner sampler of a composite sampler.

    Raises:
        ValueError: ``method`` does not build a sampler.
    """
    sampler = method(schedule) if callable(method) else method
    if not isinstance(sampler, Sampler):
        raise ValueError(f"method must be the _target_ of a sampler with _partial_: true, got {method!r}")
    return sampler


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    noise: NoiseSource,
    sampler: Sampler,
    grid: Tensor,
    cond: Conditioning | None = None,
    on_step: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Generate samples: start from noise at ``grid[0]`` and step through the grid to time 0.

    Args:
        denoiser: the model, with or without guidance.
        noise: noise source with one seed per sample; it sets the shape, the dtype and the device.
        sampler: the numerical method.
        grid: strictly decreasing times, the last exactly 0.
        cond: conditions of the samples.
        on_step: called after each step with the number of completed steps and the current x.

    Returns:
        x0, ``(B, C, *size)``.
    """
    check_grid(grid)
    times = grid.to("cpu", torch.float64)
    x = noise.start() * sampler.schedule.sigma(times[0]).item()
    return integrate(lambda x_t, t, *s: denoiser(x_t, t, cond, *s), x, noise, sampler, times, on_step)


def integrate(
    denoise: Denoise,
    x: Tensor,
    noise: NoiseSource,
    sampler: Sampler,
    times: Tensor,
    on_step: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Integrate ``x`` from ``times[0]`` through ``times``, ``(n + 1,)`` in float64 on the CPU, to the last time.

    Raises:
        ValueError: a step of the sampler returns no tensor like ``x``.
    """
    history: History = deque()
    for done, (t, s) in enumerate(pairwise(times), start=1):
        x = alike(f"a step of {type(sampler).__name__}", sampler.step(denoise, x, t, s, history, noise), x)
        if on_step is not None:
            on_step(done, x)
    return x
