"""A transformer encoder of sequences, such as the tokens of a text."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multidiff.nn.attention import MultiHeadAttention
from multidiff.nn.initialization import zero_init
from multidiff.nn.rotary import apply_rotary


class SequenceEncoder(nn.Module):
    """Pre-norm transformer blocks with rotary positions, then a layer norm.

    ``(B, L, D)`` and the mask ``(B, L)`` to ``(B, L, D)``, for any L. Padding has no effect on other positions, and its
    output is zero. The blocks are initialised to the identity. Vaswani et al. (2017), section 3,
    https://arxiv.org/abs/1706.03762, with the norms of Xiong et al. (2020), https://arxiv.org/abs/2002.04745.

    Args:
        dim: D, a multiple of ``head_size``.
        depth: number of blocks.
        head_size: channels of each attention head, even.
        dropout: probability of dropping a value in the MLP of a block.

    Raises:
        ValueError: ``head_size`` does not divide ``dim``.
    """

    def __init__(self, dim: int, depth: int, *, head_size: int, dropout: float = 0.0):
        super().__init__()
        self.blocks = nn.ModuleList(_Block(dim, head_size, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Encode.

        Args:
            x: ``(B, L, D)``.
            mask: ``(B, L)``, true where an element is valid, false for padding.
        """
        first = torch.arange(x.shape[1], device=x.device) == 0
        visible = mask | first & ~mask.any(dim=1, keepdim=True)  # an empty sequence attends to its first element
        for block in self.blocks:
            x = block(x, visible)
        return self.norm(x) * mask[:, :, None]


class _Block(nn.Module):
    """Self-attention, then an MLP: ``(B, L, D)`` to ``(B, L, D)``."""

    def __init__(self, dim: int, head_size: int, dropout: float):
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = MultiHeadAttention(dim, head_size=head_size)
        zero_init(self.attention.out)
        self.norm = nn.LayerNorm(dim)
        self.inner = nn.Linear(dim, 4 * dim)
        self.dropout = nn.Dropout(dropout)
        self.out = zero_init(nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor, visible: Tensor) -> Tensor:
        rotate = partial(apply_rotary, size=x.shape[1:2])
        x = x + self.attention(self.attention_norm(x), mask=visible, rotate=rotate)
        return x + self.out(self.dropout(F.silu(self.inner(self.norm(x)))))
