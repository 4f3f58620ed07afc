"""What a network is told about the sample it should make."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Conditioning:
    """One vector, or a sequence of tokens, or both, for each sample of a batch.

    The null condition, which stands for "nothing is asked", is a zero vector and no token. Training drops conditions
    to it, and guidance steers away from it.

    Attributes:
        vector: ``(B, D)`` or None.
        tokens: ``(B, L, E)`` or None.
        mask: ``(B, L)``, true where a token is real; None if there are no tokens.
    """

    vector: Tensor | None = None
    tokens: Tensor | None = None
    mask: Tensor | None = None

    def __post_init__(self) -> None:
        if (self.tokens is None) != (self.mask is None):
            raise ValueError("tokens and mask come together")

    def null(self) -> "Conditioning":
        """The null condition in this one's shape."""
        return self._map(torch.zeros_like)

    def where(self, keep: Tensor) -> "Conditioning":
        """This condition for the samples where ``keep``, ``(B,)`` of booleans, is true; the null one for the others."""
        return self._map(lambda x: x * keep.reshape(-1, *[1] * (x.ndim - 1)).to(x.dtype))

    def repeat(self, times: int) -> "Conditioning":
        """The whole batch ``times`` times over."""
        return self._map(lambda x: x.repeat(times, *[1] * (x.ndim - 1)))

    def expand(self, size: int) -> "Conditioning":
        """One condition, or one for each of ``size`` samples, as a batch of ``size``."""
        return self._map(lambda x: x.expand(size, *x.shape[1:]))

    def select(self, rows: Tensor) -> "Conditioning":
        """The conditions at the indices ``rows``."""
        return self._map(lambda x: x[rows])

    def _map(self, function: Callable[[Tensor], Tensor]) -> "Conditioning":
        fields = (self.vector, self.tokens, self.mask)
        return Conditioning(*(None if x is None else function(x) for x in fields))


def concatenate(*conditions: Conditioning) -> Conditioning:
    """Conditions of the same kind joined along the batch; the shorter sequences of tokens are padded."""

    def join(name: str) -> Tensor | None:
        parts = [getattr(condition, name) for condition in conditions]
        if parts[0] is None or name == "vector":
            return None if parts[0] is None else torch.cat(parts)
        joined = parts[0].new_zeros(sum(map(len, parts)), max(part.shape[1] for part in parts), *parts[0].shape[2:])
        for part, rows in zip(parts, joined.split([len(part) for part in parts]), strict=True):
            rows[:, : part.shape[1]] = part
        return joined

    return Conditioning(join("vector"), join("tokens"), join("mask"))
