"""Self-attention and cross-attention for samples with any number of dimensions."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from multidiff.nn.initialization import zero_init
from multidiff.nn.norm import RootMeanSquareNorm, group_norm
from multidiff.nn.rotary import apply_rotary

EXPLICIT_LIMIT = 512 * 512
"""Number of query-key pairs up to which attention in bfloat16 on a CPU does not use the fused kernel."""


class SelfAttention(nn.Module):
    """Residual self-attention over all positions, initialised to the identity.

    ``(B, C, *size)`` to ``(B, C, *size)``, in 1, 2 or 3 dimensions. Vaswani et al. (2017), section 3.2,
    https://arxiv.org/abs/1706.03762.

    Args:
        channels: C, a multiple of ``head_size``.
        head_size: channels of each head.
        rotary: whether to use rotary position embeddings (`apply_rotary`); otherwise attention ignores positions.
        query_key_norm: whether to apply RMS norm to queries and keys, which prevents saturated attention at high
            learning rates. Dehghani et al. (2023), section 2, https://arxiv.org/abs/2302.05442, who use layer norm.

    Raises:
        ValueError: ``head_size`` does not divide ``channels``.
    """

    def __init__(self, channels: int, *, head_size: int, rotary: bool = False, query_key_norm: bool = False):
        super().__init__()
        self.heads = heads_of(channels, head_size)
        self.rotary = rotary
        self.norm = group_norm(channels)
        self.query_key_value = nn.Linear(channels, 3 * channels)
        self.query_norm = RootMeanSquareNorm(head_size) if query_key_norm else nn.Identity()
        self.key_norm = RootMeanSquareNorm(head_size) if query_key_norm else nn.Identity()
        self.out = zero_init(nn.Linear(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        projected = self.query_key_value(_as_sequence(self.norm(x)))
        q, k, v = rearrange(projected, "b n (three h d) -> three b h n d", three=3, h=self.heads)
        q, k = self.query_norm(q), self.key_norm(k)
        if self.rotary:
            q, k = apply_rotary(q, x.shape[2:]), apply_rotary(k, x.shape[2:])
        return x + _as_field(self.out(_merge_heads(dot_product_attention(q, k, v))), x)


class CrossAttention(nn.Module):
    """Residual cross-attention from all positions to the condition tokens, initialised to the identity.

    A learned null token is prepended and never masked: under the null condition, which has no token, it is the only
    one. Rombach et al. (2022), section 3.3, https://arxiv.org/abs/2112.10752.

    Args:
        channels: C of the input ``(B, C, *size)``, a multiple of ``head_size``.
        token_dim: E of the tokens ``(B, L, E)``.
        head_size: channels of each head.

    Raises:
        ValueError: ``head_size`` does not divide ``channels``.
    """

    def __init__(self, channels: int, token_dim: int, *, head_size: int):
        super().__init__()
        self.heads = heads_of(channels, head_size)
        self.norm = group_norm(channels)
        self.query = nn.Linear(channels, channels)
        self.key_value = nn.Linear(token_dim, 2 * channels)
        self.null_token = nn.Parameter(torch.randn(token_dim))
        self.out = zero_init(nn.Linear(channels, channels))

    def forward(self, x: Tensor, tokens: Tensor | None, mask: Tensor | None) -> Tensor:
        """Attend.

        Args:
            x: ``(B, C, *size)``.
            tokens: ``(B, L, token_dim)``, or None for the null condition.
            mask: ``(B, L)``, true where a token is valid, false for padding; None without tokens.
        """
        null = repeat(self.null_token, "e -> b 1 e", b=len(x))
        q = rearrange(self.query(_as_sequence(self.norm(x))), "b n (h d) -> b h n d", h=self.heads)
        context = null if tokens is None else torch.cat([null, tokens], dim=1)
        k, v = rearrange(self.key_value(context), "b l (two h d) -> two b h l d", two=2, h=self.heads)
        visible = None if mask is None else rearrange(F.pad(mask, (1, 0), value=True), "b l -> b 1 1 l")
        return x + _as_field(self.out(_merge_heads(dot_product_attention(q, k, v, visible))), x)


class MultiHeadAttention(nn.Module):
    """Attention of a sequence to itself or to a context, with RMS-normalised queries and keys.

    Neither residual nor with a norm of its input: blocks add both in their own way. Query-key norm: Dehghani et al.
    (2023), section 2, https://arxiv.org/abs/2302.05442.

    Args:
        dim: D of the sequence ``(B, N, D)``, a multiple of ``head_size``.
        context_dim: width of the context ``(B, M, context_dim)``; None for self-attention.
        head_size: channels of each head.

    Raises:
        ValueError: ``head_size`` does not divide ``dim``.
    """

    def __init__(self, dim: int, context_dim: int | None = None, *, head_size: int):
        super().__init__()
        self.heads = heads_of(dim, head_size)
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(context_dim or dim, 2 * dim)
        self.query_norm = RootMeanSquareNorm(head_size)
        self.key_norm = RootMeanSquareNorm(head_size)
        self.out = nn.Linear(dim, dim)

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        mask: Tensor | None = None,
        rotate: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Attend.

        Args:
            x: ``(B, N, dim)``.
            context: ``(B, M, context_dim)``; None for ``x`` itself.
            mask: ``(B, M)``, true where the context is valid, at least once per sample; None if all of it is valid.
            rotate: applies positions to queries and keys, ``(B, heads, N, head_size)``; None for no positions.
        """
        q = rearrange(self.query(x), "b n (h d) -> b h n d", h=self.heads)
        source = x if context is None else context
        k, v = rearrange(self.key_value(source), "b m (two h d) -> two b h m d", two=2, h=self.heads)
        q, k = self.query_norm(q), self.key_norm(k)
        if rotate is not None:
            q, k = rotate(q), rotate(k)
        visible = None if mask is None else rearrange(mask, "b m -> b 1 1 m")
        return self.out(_merge_heads(dot_product_attention(q, k, v, visible)))


def dot_product_attention(q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention, ``(B, heads, N, D)``.

    On a CPU in bfloat16, up to `EXPLICIT_LIMIT` pairs of a query and a key, the matrix products are computed
    explicitly, because torch's fused kernel is slower there: 3 times as slow for 64 queries and keys, as fast for 512
    (benchmarks/attention.py). Otherwise it is `F.scaled_dot_product_attention`.

    Args:
        q: queries, ``(B, heads, N, D)``.
        k: keys, ``(B, heads, M, D)``.
        v: values, like ``k``.
        visible: boolean, broadcastable to ``(B, heads, N, M)``: true where a query attends to a key, at least once per
            query; None for all.
    """
    few = q.shape[-2] * k.shape[-2] <= EXPLICIT_LIMIT
    if not (few and q.device.type == "cpu" and q.dtype == torch.bfloat16):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=visible)
    scores = (q / math.sqrt(q.shape[-1])) @ k.mT
    return (scores if visible is None else scores.masked_fill(~visible, -math.inf)).softmax(dim=-1) @ v


def heads_of(channels: int, head_size: int) -> int:
    """The number of attention heads of ``head_size`` channels each.

    Raises:
        ValueError: ``head_size`` does not divide ``channels``.
    """
    if channels % head_size:
        raise ValueError(
            f"{channels} channels cannot be divided into heads of {head_size} channels: set head_size to a divisor, "
            f"as in backbone.head_size={math.gcd(channels, head_size)}"
        )
    return channels // head_size


def _as_sequence(x: Tensor) -> Tensor:
    return rearrange(x, "b c ... -> b (...) c")


def _as_field(sequence: Tensor, like: Tensor) -> Tensor:
    return rearrange(sequence, "b n c -> b c n").reshape(like.shape)


def _merge_heads(heads: Tensor) -> Tensor:
    return rearrange(heads, "b h n d -> b n (h d)")
