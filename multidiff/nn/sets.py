"""Blocks on sets ``(B, N, D)``: permuting the elements permutes the output, and the order of a context is nothing."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multidiff.nn.attention import MultiHeadAttention
from multidiff.nn.initialization import zero_init


class SetBlock(nn.Module):
    """Attention of a set to itself or to a context, then an MLP; pre-norm, residual and initialised to the identity.

    Lee et al. (2019), Set Transformer, https://arxiv.org/abs/1810.00825.

    Args:
        dim: D of the set, a multiple of ``head_size``.
        context_dim: width of the context ``(B, M, context_dim)``; None for self-attention.
        head_size: channels of each head.
        expansion: width of the MLP in D.

    Raises:
        ValueError: ``head_size`` does not divide ``dim``.
    """

    def __init__(self, dim: int, context_dim: int | None = None, *, head_size: int, expansion: int = 4):
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.context_norm = nn.Identity() if context_dim is None else nn.LayerNorm(context_dim)
        self.attention = MultiHeadAttention(dim, context_dim, head_size=head_size)
        zero_init(self.attention.out)
        self.norm = nn.LayerNorm(dim)
        self.inner = nn.Linear(dim, expansion * dim)
        self.out = zero_init(nn.Linear(expansion * dim, dim))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """``(B, N, dim)`` and the context, or None for ``x`` itself, to ``(B, N, dim)``."""
        source = None if context is None else self.context_norm(context)
        x = x + self.attention(self.attention_norm(x), source)
        return x + self.out(F.silu(self.inner(self.norm(x))))


def farthest_points(points: Tensor, count: int) -> Tensor:
    """Indices ``(B, count)`` of points ``(B, N, D)``, each the farthest from those before it.

    The first is the farthest from the mean, so that the chosen set does not depend on the order of the points.
    Eldar et al. (1997), https://doi.org/10.1109/83.623193; Qi et al. (2017), https://arxiv.org/abs/1706.02413.
    """
    rows = torch.arange(len(points), device=points.device)
    chosen = [(points - points.mean(dim=1, keepdim=True)).square().sum(dim=2).argmax(dim=1)]
    distances = torch.full(points.shape[:2], torch.inf, dtype=points.dtype, device=points.device)
    for _ in range(count - 1):
        last = points[rows, chosen[-1]][:, None]
        distances = torch.minimum(distances, (points - last).square().sum(dim=2))
        chosen.append(distances.argmax(dim=1))
    return torch.stack(chosen, dim=1)
