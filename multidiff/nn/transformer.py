"""Transformer blocks on sequences ``(B, L, D)``, steered by an embedding through adaptive layer norm.

A linear layer behind a norm has no bias: the norm's shift is one, and a second takes a tenth of a small network's time.

Peebles and Xie (2023), "Scalable Diffusion Models with Transformers", section 3.2 (adaLN-Zero),
https://arxiv.org/abs/2212.09748.
"""

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from multidiff.nn.attention import attended
from multidiff.nn.initialization import zero


class AdaptiveLayerNorm(nn.Module):
    """``(1 + scale) layer_norm(x) + shift``, scale and shift being linear in an embedding; a plain norm at first.

    ``(B, L, D)`` and ``(B, E)`` to ``(B, L, D)``.
    """

    def __init__(self, dim: int, embedding_dim: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.modulation = zero(nn.Linear(embedding_dim, 2 * dim))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.modulation(embedding)[:, None].chunk(2, dim=-1)
        return torch.addcmul(shift, self.norm(x), 1 + scale)


class Attention(nn.Module):
    """Positions of one sequence read from another, or from their own; the result is added. The identity at first.

    Args:
        dim: D of what reads, ``(B, L, D)``, a multiple of ``head_size``.
        context_dim: of what is read, ``(B, M, context_dim)``; None where a sequence reads itself.
        embedding_dim: E of the embedding ``(B, E)``.
        head_size: channels of a head.

    Raises:
        ValueError: heads do not divide the channels.
    """

    def __init__(self, dim: int, context_dim: int | None, embedding_dim: int, *, head_size: int):
        super().__init__()
        if dim % head_size:
            raise ValueError(f"heads of {head_size} channels do not divide {dim} channels")
        inner = min(dim, context_dim or dim)
        self.heads = inner // head_size
        self.norm = AdaptiveLayerNorm(dim, embedding_dim)
        self.context_norm = None if context_dim is None else nn.LayerNorm(context_dim)
        self.query = nn.Linear(dim, inner, bias=False)
        self.key_value = nn.Linear(context_dim or dim, 2 * inner, bias=False)
        self.out = zero(nn.Linear(inner, dim))

    def forward(
        self, x: Tensor, embedding: Tensor, context: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Attend.

        Args:
            x: ``(B, L, dim)``.
            embedding: ``(B, embedding_dim)``.
            context: ``(B, M, context_dim)``; None for ``x`` itself.
            mask: ``(B, M)``, true where the context is real; None if all of it is.
        """
        h = self.norm(x, embedding)
        source = h if context is None or self.context_norm is None else self.context_norm(context)
        q = rearrange(self.query(h), "b l (h d) -> b h l d", h=self.heads)
        k, v = rearrange(self.key_value(source), "b m (two h d) -> two b h m d", two=2, h=self.heads)
        visible = None if mask is None else rearrange(mask, "b m -> b 1 1 m")
        read = attended(q, k, v, visible)
        return x + self.out(rearrange(read, "b h l d -> b l (h d)"))


class FeedForward(nn.Module):
    """Two linear layers at each position, added to their input; the identity at first."""

    def __init__(self, dim: int, embedding_dim: int, *, expansion: int = 4, dropout: float = 0.0):
        super().__init__()
        self.norm = AdaptiveLayerNorm(dim, embedding_dim)
        self.inner = nn.Linear(dim, expansion * dim, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.out = zero(nn.Linear(expansion * dim, dim))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return x + self.out(self.dropout(F.silu(self.inner(self.norm(x, embedding)))))


class TransformerBlock(nn.Module):
    """Self-attention, then a perceptron: ``(B, L, D)`` and ``(B, E)`` to ``(B, L, D)``."""

    def __init__(self, dim: int, embedding_dim: int, *, head_size: int, dropout: float = 0.0):
        super().__init__()
        self.attention = Attention(dim, None, embedding_dim, head_size=head_size)
        self.feed_forward = FeedForward(dim, embedding_dim, dropout=dropout)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return self.feed_forward(self.attention(x, embedding), embedding)


class ConditionTokens(nn.Module):
    """The tokens of a condition in the width of a transformer, behind a learned one that is always there.

    The null condition, which has no token, is the learned one alone.

    Args:
        token_dim: E of the tokens ``(B, L, E)``.
        dim: of the result.
    """

    def __init__(self, token_dim: int, dim: int):
        super().__init__()
        self.project = nn.Linear(token_dim, dim)
        self.null_token = nn.Parameter(torch.randn(dim))

    def forward(self, tokens: Tensor | None, mask: Tensor | None, batch: int) -> tuple[Tensor, Tensor | None]:
        """Sequence ``(B, 1 + L, dim)`` and its mask ``(B, 1 + L)``."""
        null = repeat(self.null_token, "d -> b 1 d", b=batch)
        if tokens is None or mask is None:
            return null, None
        return torch.cat([null, self.project(tokens)], dim=1), F.pad(mask, (1, 0), value=True)
