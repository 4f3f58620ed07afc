"""Conditions: the information that a network receives about the sample to generate."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Conditioning:
    """A vector, a sequence of tokens, or both, for each sample of a batch.

    The null condition, which means "unconditional", is a zero vector and no token. Training replaces dropped conditions
    by it, and guidance steers away from it.

    Attributes:
        vector: ``(B, D)`` or None.
        tokens: ``(B, L, E)`` or None.
        mask: ``(B, L)``, true where a token is valid, false for padding; None without tokens.
    """

    vector: Tensor | None = None
    tokens: Tensor | None = None
    mask: Tensor | None = None

    def __post_init__(self) -> None:
        if (self.tokens is None) != (self.mask is None):
            raise ValueError("tokens and mask must be given together")

    def null(self) -> "Conditioning":
        """The null condition with the same shapes."""
        return self._map(torch.zeros_like)

    def where(self, keep: Tensor) -> "Conditioning":
        """This condition where ``keep``, boolean ``(B,)``, is true; the null condition elsewhere."""
        return self._map(lambda x: x * keep.reshape(-1, *[1] * (x.ndim - 1)).to(x.dtype))

    def repeat(self, times: int) -> "Conditioning":
        """The batch repeated ``times`` times."""
        return self._map(lambda x: x.repeat(times, *[1] * (x.ndim - 1)))

    def expand(self, size: int) -> "Conditioning":
        """A batch of ``size`` conditions, from one condition or from ``size`` of them."""
        return self._map(lambda x: x.expand(size, *x.shape[1:]))

    def select(self, rows: Tensor) -> "Conditioning":
        """The conditions at the indices ``rows``."""
        return self._map(lambda x: x[rows])

    def unpadded(self) -> "Iterator[tuple[Tensor, Conditioning]]":
        """The conditions without padding, in groups of equal token count, for networks without a padding mask.

        Yields:
            Indices of samples, and their conditions.
        """
        if self.tokens is None or self.mask is None:
            raise ValueError("a condition without tokens has no padding")
        counts = self.mask.sum(dim=1)
        for count in counts.unique().tolist():
            rows = (counts == count).nonzero()[:, 0]
            mask = self.mask[rows]
            tokens = self.tokens[rows][mask].view(len(rows), int(count), -1)
            vector = None if self.vector is None else self.vector[rows]
            yield rows, Conditioning(vector, tokens, mask.new_ones(len(rows), int(count)))

    def detach(self) -> "Conditioning":
        """This condition without its gradient."""
        return self._map(torch.detach)

    def _map(self, function: Callable[[Tensor], Tensor]) -> "Conditioning":
        fields = (self.vector, self.tokens, self.mask)
        return Conditioning(*(None if x is None else function(x) for x in fields))


def concatenate(*conditions: Conditioning) -> Conditioning:
    """Concatenate conditions along the batch; shorter token sequences are padded."""

    def join(name: str) -> Tensor | None:
        parts = [getattr(condition, name) for condition in conditions]
        if parts[0] is None or name == "vector":
            return None if parts[0] is None else torch.cat(parts)
        longest = max(part.shape[1] for part in parts)
        return torch.cat([F.pad(part, (*[0, 0] * (part.ndim - 2), 0, longest - part.shape[1])) for part in parts])

    return Conditioning(join("vector"), join("tokens"), join("mask"))
