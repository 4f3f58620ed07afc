"""Transformer blocks on sequences ``(B, L, D)``, conditioned on an embedding through adaptive layer norm.

Linear layers after an adaptive norm have no bias: the shift of the norm already is one, and a second bias costs a tenth
of the time of a small network.

Peebles and Xie (2023), "Scalable Diffusion Models with Transformers", section 3.2 (adaLN-Zero),
https://arxiv.org/abs/2212.09748.
"""

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from multidiff.nn.attention import dot_product_attention, heads_of
from multidiff.nn.initialization import zero_init


class AdaptiveLayerNorm(nn.Module):
    """``(1 + scale) layer_norm(x) + shift``, where scale and shift are linear in an embedding and zero at first.

    ``(B, L, D)`` and ``(B, E)`` to ``(B, L, D)``.
    """

    def __init__(self, dim: int, embedding_dim: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.modulation = zero_init(nn.Linear(embedding_dim, 2 * dim))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.modulation(embedding)[:, None].chunk(2, dim=-1)
        return torch.addcmul(shift, self.norm(x), 1 + scale)


class Attention(nn.Module):
    """Residual self-attention or cross-attention between sequences, initialised to the identity.

    Args:
        dim: D of the queries ``(B, L, D)``, a multiple of ``head_size``.
        context_dim: width of the context ``(B, M, context_dim)``; None for self-attention.
        embedding_dim: E of the embedding ``(B, E)``.
        head_size: channels of each head.

    Raises:
        ValueError: ``head_size`` does not divide ``dim``.
    """

    def __init__(self, dim: int, context_dim: int | None, embedding_dim: int, *, head_size: int):
        super().__init__()
        heads_of(dim, head_size)
        inner = min(dim, context_dim or dim)
        self.heads = heads_of(inner, head_size)
        self.norm = AdaptiveLayerNorm(dim, embedding_dim)
        self.context_norm = None if context_dim is None else nn.LayerNorm(context_dim)
        self.query = nn.Linear(dim, inner, bias=False)
        self.key_value = nn.Linear(context_dim or dim, 2 * inner, bias=False)
        self.out = zero_init(nn.Linear(inner, dim))

    def forward(
        self, x: Tensor, embedding: Tensor, context: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Attend.

        Args:
            x: ``(B, L, dim)``.
            embedding: ``(B, embedding_dim)``.
            context: ``(B, M, context_dim)``; None for self-attention.
            mask: ``(B, M)``, true where the context is valid, false for padding; None if all of it is valid.
        """
        h = self.norm(x, embedding)
        source = h if context is None or self.context_norm is None else self.context_norm(context)
        q = rearrange(self.query(h), "b l (h d) -> b h l d", h=self.heads)
        k, v = rearrange(self.key_value(source), "b m (two h d) -> two b h m d", two=2, h=self.heads)
        visible = None if mask is None else rearrange(mask, "b m -> b 1 1 m")
        heads = dot_product_attention(q, k, v, visible)
        return x + self.out(rearrange(heads, "b h l d -> b l (h d)"))


class FeedForward(nn.Module):
    """Residual position-wise MLP, initialised to the identity."""

    def __init__(self, dim: int, embedding_dim: int, *, expansion: int = 4, dropout: float = 0.0):
        super().__init__()
        self.norm = AdaptiveLayerNorm(dim, embedding_dim)
        self.inner = nn.Linear(dim, expansion * dim, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.out = zero_init(nn.Linear(expansion * dim, dim))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return x + self.out(self.dropout(F.silu(self.inner(self.norm(x, embedding)))))


class TransformerBlock(nn.Module):
    """Self-attention, then an MLP: ``(B, L, D)`` and ``(B, E)`` to ``(B, L, D)``."""

    def __init__(self, dim: int, embedding_dim: int, *, head_size: int, dropout: float = 0.0):
        super().__init__()
        self.attention = Attention(dim, None, embedding_dim, head_size=head_size)
        self.feed_forward = FeedForward(dim, embedding_dim, dropout=dropout)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return self.feed_forward(self.attention(x, embedding), embedding)


class ConditionTokens(nn.Module):
    """Projects condition tokens to the width of a transformer and prepends a learned null token.

    Under the null condition, which has no token, the null token is the only one.

    Args:
        token_dim: E of the tokens ``(B, L, E)``.
        dim: width of the projected tokens.
    """

    def __init__(self, token_dim: int, dim: int):
        super().__init__()
        self.project = nn.Linear(token_dim, dim)
        self.null_token = nn.Parameter(torch.randn(dim))

    def forward(self, tokens: Tensor | None, mask: Tensor | None, batch: int) -> tuple[Tensor, Tensor | None]:
        """The sequence, ``(B, 1 + L, dim)``, and its mask, ``(B, 1 + L)``, or None."""
        null = repeat(self.null_token, "d -> b 1 d", b=batch)
        if tokens is None or mask is None:
            return null, None
        return torch.cat([null, self.project(tokens)], dim=1), F.pad(mask, (1, 0), value=True)
