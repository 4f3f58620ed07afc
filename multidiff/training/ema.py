"""Exponential moving averages of the weights, which sample better than the weights themselves."""

import copy
import weakref
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn


class Decay(ABC):
    """The decay of a moving average: the fraction that is kept at each update."""

    @abstractmethod
    def __call__(self, update: int) -> float:
        """The fraction kept at update number ``update``, counted from 1."""


@dataclass(frozen=True)
class PowerDecay(Decay):
    """An average over a fixed fraction of the training, independent of its length: ``(1 - 1 / update)^(gamma + 1)``.

    Karras et al. (2024), eq. 4 and algorithm 2, https://arxiv.org/abs/2312.02696.

    Args:
        std: width of the averaging profile relative to the length of training, below 0.28.
    """

    std: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.std < 12**-0.5:
            raise ValueError(f"the relative width must lie between 0 and 0.288, got {self.std}")

    @cached_property
    def gamma(self) -> float:
        """The exponent whose profile ``t^gamma`` has the relative width ``std``."""
        roots = np.roots([1, 7, 16 - self.std**-2, 12 - self.std**-2])
        return float(roots.real.max())

    def __call__(self, update: int) -> float:
        return (1 - 1 / update) ** (self.gamma + 1)


@dataclass(frozen=True)
class ConstantDecay(Decay):
    """A constant fraction, smaller during a warm-up so that the initial weights are forgotten quickly.

    ``min(decay, n / (n + warmup))`` after n updates.
    """

    decay: float = 0.999
    warmup: float = 10.0

    def __post_init__(self) -> None:
        if not (0 <= self.decay < 1 and self.warmup > 0):
            raise ValueError(f"need 0 <= decay < 1 and warmup > 0, got {self.decay} and {self.warmup}")

    def __call__(self, update: int) -> float:
        return min(self.decay, (update - 1) / (update - 1 + self.warmup))


class EMA(nn.Module):
    """A copy of ``model`` that follows it slowly.

    The copy is a separate module never swapped with the trained one, so a checkpoint always holds both. Buffers,
    and parameters that are not trained, are copied as they are.
    """

    updates: Tensor

    def __init__(self, model: nn.Module, decay: Decay):
        super().__init__()
        self.decay = decay
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self._followed: weakref.ref[nn.Module] | None = None
        self._weights: list[tuple[nn.Parameter, nn.Parameter]] = []
        self._parts: list[tuple[nn.Module, nn.Module]] = []

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards the current weights of ``model``."""
        self.updates += 1
        keep = self.decay(int(self.updates))
        self._follow(model)
        averaged = [(mine, theirs.detach()) for mine, theirs in self._weights if theirs.requires_grad]
        torch._foreach_lerp_([mine for mine, _ in averaged], [theirs for _, theirs in averaged], 1 - keep)
        copied: list[tuple[Tensor, Tensor]] = [pair for pair in self._weights if not pair[1].requires_grad]
        for mine, theirs in self._parts:
            copied += zip(mine.buffers(recurse=False), theirs.buffers(recurse=False), strict=True)
        for own, other in copied:
            own.copy_(other)

    def _follow(self, model: nn.Module) -> None:
        """Find what of ``model`` is not shared with the average; once, since a large model has thousands of parts."""
        if self._followed is not None and self._followed() is model:
            return
        weights = zip(self.model.parameters(), model.parameters(), strict=True)
        parts = zip(self.model.modules(), model.modules(), strict=True)
        self._weights = [(mine, theirs) for mine, theirs in weights if mine is not theirs]
        self._parts = [(mine, theirs) for mine, theirs in parts if any(True for _ in theirs.buffers(recurse=False))]
        self._followed = weakref.ref(model)
