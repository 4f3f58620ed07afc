"""What happens to gradients that are no numbers, or far larger than they use to be."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from multidiff.errors import InputError

MEMORY = 0.99
"""How much of the usual norm a step leaves as it is."""


class Stability:
    """Watches the norm of the gradient, which is the same in all processes, so that all decide alike.

    Args:
        patience: steps in a row without a finite gradient that end training.
        spike: times the usual norm from which on a gradient counts as a spike.

    Attributes:
        skipped: steps whose gradient was not finite, and which therefore changed nothing.
        in_row: how many of them there have been since the last good one.
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
        """Scale the gradients down to the norm ``limit``, or drop them if they are not finite; their norm.

        Without gradients an optimiser changes nothing, its own state included.

        Raises:
            InputError: this was one too many that is not finite.
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

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {name: getattr(self, name) for name in ("skipped", "in_row", "spikes", "usual")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on counting where a checkpoint was."""
        vars(self).update(state)

    def _count(self, norm: float) -> None:
        if not math.isfinite(norm):
            self.skipped += 1
            self.in_row += 1
            if self.in_row >= self.patience:
                raise InputError(
                    f"{self.in_row} steps in a row had a loss or a gradient that is no number; the last checkpoint is "
                    "kept. Lower optimizer.lr or trainer.gradient_clip_val, then go on with resume=true"
                )
            return
        self.in_row = 0
        usual = norm if self.usual is None else self.usual
        self.spikes += norm > self.spike * usual
        self.usual = MEMORY * usual + (1 - MEMORY) * min(norm, self.spike * usual)


def not_a_number_unless_finite(loss: Tensor) -> Tensor:
    """``loss``; where it is not finite, its gradient is no number, which the sum over processes carries to all."""
    return loss * torch.where(loss.isfinite(), 1.0, math.nan)
