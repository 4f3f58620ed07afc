"""What a sampler is, and the one loop that runs them all."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.denoiser import Denoiser
from multidiff.diffusion.grids import check_grid
from multidiff.diffusion.noise import NoiseSource
from multidiff.diffusion.schedules import Schedule

Denoise = Callable[[Tensor, Tensor], Tensor]
"""``(x_t, t) -> x0`` estimate, with the condition already bound."""

History = deque[Any]
"""What a multistep method remembers, newest first; made by the loop for one call."""


class Sampler(ABC):
    """A numerical method that takes x_t to x_s. It holds settings, never state.

    Attributes:
        schedule: the schedule of the denoiser that it samples.
        evaluations: network evaluations a step; the step to sigma = 0 may take fewer.
        order: the order of convergence that the tests certify; of the deterministic part, where a step draws noise.
        weak_order: the order of the law, mean and variance, which noise within the steps can hold below ``order``.
        stochastic: whether a step draws noise.
    """

    schedule: Schedule
    evaluations: int
    order: int
    stochastic: bool = False

    @property
    def weak_order(self) -> int:
        return self.order

    @abstractmethod
    def step(self, denoise: Denoise, x_t: Tensor, t: Tensor, s: Tensor, history: History, noise: NoiseSource) -> Tensor:
        """Take ``x_t`` at time ``t`` to time ``s < t``.

        Args:
            denoise: ``(x_t, t) -> x0`` estimate.
            x_t: noisy samples, ``(B, C, *size)``.
            t: the present time, ``()`` in float64 on the CPU.
            s: the next time, likewise; at ``s = 0`` the result is an estimate of x0.
            history: for multistep methods, what earlier steps of the same call left, newest first.
            noise: where a stochastic step draws from.
        """


def check_count(name: str, count: int) -> None:
    """Raise a ValueError unless ``count`` is an integer of at least 1."""
    if not isinstance(count, int) or count < 1:
        raise ValueError(f"{name} must be an integer of at least 1, got {count!r}")


def made_by(method: Callable[[Schedule], Sampler], schedule: Schedule) -> Sampler:
    """The sampler that another one runs.

    Raises:
        ValueError: ``method`` does not make a sampler.
    """
    sampler = method(schedule) if callable(method) else method
    if not isinstance(sampler, Sampler):
        raise ValueError(f"method must be a sampler's _target_ with _partial_: true, got {method!r}")
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
    """SampleFunction samples: start from noise at ``grid[0]`` and step through the grid to time 0.

    Args:
        denoiser: the model, guided or not.
        noise: one seed a sample; it fixes the shape, the dtype and the device.
        sampler: the numerical method.
        grid: times, strictly decreasing, the last exactly 0.
        cond: conditions of the samples.
        on_step: called with the number of steps done and the present x after each.

    Returns:
        x0, ``(B, C, *size)``.
    """
    check_grid(grid)
    times = grid.to("cpu", torch.float64)
    x = noise.start() * sampler.schedule.sigma(times[0]).item()
    return integrate(lambda x_t, t: denoiser(x_t, t, cond), x, noise, sampler, times, on_step)


def integrate(
    denoise: Denoise,
    x: Tensor,
    noise: NoiseSource,
    sampler: Sampler,
    times: Tensor,
    on_step: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Take ``x`` at ``times[0]`` through all of ``times``, ``(n + 1,)`` in float64 on the CPU, to the last."""
    history: History = deque()
    for done, (t, s) in enumerate(pairwise(times), start=1):
        x = sampler.step(denoise, x, t, s, history, noise)
        if on_step is not None:
            on_step(done, x)
    return x
