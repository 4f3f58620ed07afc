"""Non-finite gradients, which are skipped, and gradients far above their usual norm, which are counted."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from multidiff.errors import InputError

MEMORY = 0.99
"""Decay of the moving average of the norm."""


class Stability:
    """Monitors the gradient norm, which is equal in all processes, so that all make the same decision.

    Args:
        patience: consecutive steps with a non-finite gradient that end training.
        spike: multiple of the usual norm above which a gradient counts as a spike.

    Attributes:
        skipped: steps that were skipped because of a non-finite gradient.
        in_row: consecutive skipped steps.
        spikes: steps whose gradient was a spike.
    """

    def __init__(self, patience: int = 10, spike: float = 10.0):
        if patience < 1 or spike <= 1:
            raise InputError(
                f"stability.patience must be at least 1 and stability.spike above 1, got {patience} and {spike}"
            )
        self.patience, self.spike = patience, spike
        self.skipped = self.in_row = self.spikes = 0
        self.usual: float | None = None

    def clip(self, parameters: Iterable[nn.Parameter], limit: float | None) -> float:
        """Scale the gradients down to the norm ``limit``, or drop them if they are not finite; return their norm.

        Without gradients, an optimiser changes neither the weights nor its own state.

        Raises:
            InputError: too many consecutive gradients were not finite.
        """
        owners = [parameter for parameter in parameters if parameter.grad is not None]
        total = get_total_norm([owner.grad for owner in owners if owner.grad is not None])
        norm = float(total.full_tensor() if hasattr(total, "full_tensor") else total)
        if not math.isfinite(norm):
            for owner in owners:
                owner.grad = None
        elif limit:
            clip_grads_with_norm_(owners, limit, total)
        self._count(norm)
        return norm

    def check_learned(self, steps: int) -> None:
        """Refuse to end a training whose steps, ``steps`` in all, were skipped without exception.

        Raises:
            InputError: nothing was learned.
        """
        if self.skipped == steps:
            raise InputError(
                f"no step of {steps} had a finite loss and gradient, so nothing was learned: "
                "check the data, the network and trainer.precision"
            )

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        return {name: getattr(self, name) for name in ("skipped", "in_row", "spikes", "usual")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue counting from a checkpoint."""
        vars(self).update(state)

    def _count(self, norm: float) -> None:
        if not math.isfinite(norm):
            self.skipped += 1
            self.in_row += 1
            if self.in_row >= self.patience:
                raise InputError(
                    f"{self.in_row} consecutive steps had a non-finite loss or gradient; the last checkpoint is kept. "
                    "Lower optimizer.lr or trainer.gradient_clip_val, then continue with resume=true"
                )
            return
        self.in_row = 0
        usual = norm if self.usual is None else self.usual
        self.spikes += norm > self.spike * usual
        self.usual = MEMORY * usual + (1 - MEMORY) * min(norm, self.spike * usual)


def nan_unless_finite(loss: Tensor) -> Tensor:
    """``loss``, with a NaN gradient where it is not finite; the sum over processes carries the NaN to all of them."""
    return loss * torch.where(loss.isfinite(), 1.0, math.nan)
