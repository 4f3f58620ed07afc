"""Attention over all positions of a sample, whatever its number of dimensions."""

import math

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from multidiff.nn.initialization import zero
from multidiff.nn.norm import RootMeanSquareNorm, group_norm
from multidiff.nn.rotary import rotated

WRITTEN_OUT = 512 * 512
"""Pairs of a query and a key, up to which it pays to hold a weight for each of them."""


class SelfAttention(nn.Module):
    """Every position attends to every other; the result is added to the input. The identity at first.

    ``(B, C, *size)`` to the same, so one class serves 1, 2 and 3 dimensions. Vaswani et al. (2017), section 3.2,
    https://arxiv.org/abs/1706.03762.

    Args:
        channels: C, a multiple of ``head_size``.
        head_size: channels of each head.
        rotary: whether a position knows where the others are relative to it, by `rotated`; without, it does not.
        query_key_norm: whether queries and keys are normalised, which keeps attention from saturating at high learning
            rates. Dehghani et al. (2023), section 2, https://arxiv.org/abs/2302.05442, with root mean squares.

    Raises:
        ValueError: heads do not divide the channels.
    """

    def __init__(self, channels: int, *, head_size: int, rotary: bool = False, query_key_norm: bool = False):
        super().__init__()
        self.heads = _heads(channels, head_size)
        self.rotary = rotary
        self.norm = group_norm(channels)
        self.query_key_value = nn.Linear(channels, 3 * channels)
        self.query_norm = RootMeanSquareNorm(head_size) if query_key_norm else nn.Identity()
        self.key_norm = RootMeanSquareNorm(head_size) if query_key_norm else nn.Identity()
        self.out = zero(nn.Linear(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        projected = self.query_key_value(_as_sequence(self.norm(x)))
        q, k, v = rearrange(projected, "b n (three h d) -> three b h n d", three=3, h=self.heads)
        q, k = self.query_norm(q), self.key_norm(k)
        if self.rotary:
            q, k = rotated(q, x.shape[2:]), rotated(k, x.shape[2:])
        return x + _as_field(self.out(_merge_heads(attended(q, k, v))), x)


class CrossAttention(nn.Module):
    """Every position attends to the tokens of a condition; the result is added to the input. The identity at first.

    A learned null token stands beside the given ones and is never masked: a sample without tokens, which is the null
    condition, attends to it alone. Rombach et al. (2022), section 3.3, https://arxiv.org/abs/2112.10752.

    Args:
        channels: C of the input ``(B, C, *size)``, a multiple of ``head_size``.
        token_dim: E of the tokens ``(B, L, E)``.
        head_size: channels of each head.

    Raises:
        ValueError: heads do not divide the channels.
    """

    def __init__(self, channels: int, token_dim: int, *, head_size: int):
        super().__init__()
        self.heads = _heads(channels, head_size)
        self.norm = group_norm(channels)
        self.query = nn.Linear(channels, channels)
        self.key_value = nn.Linear(token_dim, 2 * channels)
        self.null_token = nn.Parameter(torch.randn(token_dim))
        self.out = zero(nn.Linear(channels, channels))

    def forward(self, x: Tensor, tokens: Tensor | None, mask: Tensor | None) -> Tensor:
        """Attend.

        Args:
            x: ``(B, C, *size)``.
            tokens: ``(B, L, token_dim)``, or None for the null condition.
            mask: ``(B, L)``, true where a token is real; None if there are no tokens.
        """
        null = repeat(self.null_token, "e -> b 1 e", b=len(x))
        q = rearrange(self.query(_as_sequence(self.norm(x))), "b n (h d) -> b h n d", h=self.heads)
        context = null if tokens is None else torch.cat([null, tokens], dim=1)
        k, v = rearrange(self.key_value(context), "b l (two h d) -> two b h l d", two=2, h=self.heads)
        visible = None if mask is None else rearrange(F.pad(mask, (1, 0), value=True), "b l -> b 1 1 l")
        return x + _as_field(self.out(_merge_heads(attended(q, k, v, visible))), x)


def attended(q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None = None) -> Tensor:
    """The mean of the values by how well each key fits a query: `F.scaled_dot_product_attention`, ``(B, heads, N, D)``.

    On a processor and in bfloat16 the products are written out up to `WRITTEN_OUT` pairs, where torch's kernel takes
    longer (benchmarks/attention.py): 3 times as long for 64 queries and keys, as long for 512.

    Args:
        q: queries, ``(B, heads, N, D)``.
        k: keys, ``(B, heads, M, D)``.
        v: values, like ``k``.
        visible: true where a key may be read, at least one for each query, and to be broadcast to ``(B, heads, N, M)``;
            None for all of them.
    """
    few = q.shape[-2] * k.shape[-2] <= WRITTEN_OUT
    if not (few and q.device.type == "cpu" and q.dtype == torch.bfloat16):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=visible)
    scores = (q / math.sqrt(q.shape[-1])) @ k.mT
    return (scores if visible is None else scores.masked_fill(~visible, -math.inf)).softmax(dim=-1) @ v


def _heads(channels: int, head_size: int) -> int:
    if channels % head_size:
        raise ValueError(f"heads of {head_size} channels do not divide {channels} channels")
    return channels // head_size


def _as_sequence(x: Tensor) -> Tensor:
    return rearrange(x, "b c ... -> b (...) c")


def _as_field(sequence: Tensor, like: Tensor) -> Tensor:
    return rearrange(sequence, "b n c -> b c n").reshape(like.shape)


def _merge_heads(heads: Tensor) -> Tensor:
    return rearrange(heads, "b h n d -> b n (h d)")
