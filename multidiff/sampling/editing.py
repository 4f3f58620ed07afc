"""Ways to draw samples that start from an artifact, in the terms of its modality."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from multidiff.diffusion.continuation import Continue
from multidiff.diffusion.editing import Draw, Edit, Inpaint
from multidiff.errors import InputError, refusals
from multidiff.modality import Modality


@dataclass(frozen=True)
class Canvas:
    """What a model draws on: tensors of one shape that stand for artifacts of one modality.

    Attributes:
        modality: of the artifacts.
        shape: ``(C, *size)`` of what the model draws at once.
        like: a tensor on the device and of the dtype of the model.
    """

    modality: Modality[Any]
    shape: tuple[int, ...]
    like: Tensor

    def tensor(self, artifact: Any) -> Tensor:
        """The artifact as the model sees it, ``(C, *size)``.

        Raises:
            InputError: it has another size than the samples of the model.
        """
        return self.modality.sized(artifact, self.shape).to(self.like.device, self.like.dtype)

    def varied(self, init: Any, strength: float) -> Draw:
        """Start from ``init``, of which ``strength`` is made anew: above 0, at most 1."""
        with refusals():
            return Edit(self.tensor(init), strength)

    def repainted(self, artifact: Any, *region: Any, repeats: int = 5) -> Draw:
        """Make anew the part of ``artifact`` that `Modality.mask` understands by ``region``."""
        with refusals():
            x0 = self.tensor(artifact)
            return Inpaint(x0, self.modality.mask(self.shape, *region).to(x0.device), repeats)

    def continued(self, artifact: Any, amount: float, *, overlap: float = 0.5, repeats: int = 5) -> Draw:
        """Go on where ``artifact`` ends, by ``amount`` of what `Modality.extension` counts in."""
        if not 0 < overlap < 1:
            raise InputError(f"the overlap is a part of what the model draws at once, between 0 and 1, got {overlap}")
        with refusals():
            x0, length = self.modality.extension(artifact, amount)
            if x0.shape[:-1] != self.shape[:-1]:
                asked, given = self.shape[:-1], tuple(x0.shape[:-1])
                raise InputError(f"this model goes on from {asked}, and the one given is {given}")
            edge, period = self.modality.edge, self.modality.period
            known = max(1, int(overlap * (self.shape[-1] - 2 * edge - period + 1)))
            start = x0.to(self.like.device, self.like.dtype)
            return Continue(start, length, known, repeats, edge=edge, period=period)
