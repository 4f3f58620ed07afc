"""The U-Net, in one, two or three dimensions."""

import math
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multidiff.diffusion.conditioning import Conditioning
from multidiff.nn.attention import CrossAttention, SelfAttention
from multidiff.nn.checkpointing import call, recomputed
from multidiff.nn.embeddings import Embedding
from multidiff.nn.initialization import zero
from multidiff.nn.norm import group_norm
from multidiff.nn.resample import (
    crop,
    downsample,
    downsample_filtered,
    pad_to_multiple,
    upsample,
    upsample_filtered,
)
from multidiff.nn.residual import ResidualBlock, convolution


class UNet(nn.Module):
    """The U-Net of ADM, resampling by means and copies as EDM2 does, or through a filter.

    The encoder hands the output of every block to the decoder, which concatenates it to its own. Samples of any size
    are padded with zeros until every level divides them, and the output is cropped back. The output is zero at first.
    Dhariwal and Nichol (2021), section 3, https://arxiv.org/abs/2105.05233.

    Args:
        dims: dimensions of the samples: 1, 2 or 3.
        channels: of the samples.
        vector_dim: width of the condition vector; 0 for none.
        token_dim: width of the condition tokens, which every block that attends reads; 0 for none.
        widths: channels of each level, finest first.
        strides: by how much each level is coarser than the one before; the first is 1.
        blocks: residual blocks of each level on the way down, and again on the way up.
        attention: for each level, whether its blocks attend. The block in the middle always does.
        head_size: channels of an attention head. Small heads are slow: 8 takes six times as long as 64.
        rotary: whether attention knows of positions, and norms its queries and keys.
        filtered: whether a low-pass filter keeps resampling free of aliases, as waveforms need.
        gated: whether the input, times a gate for each of its values, is added to the output. What goes from the one to
            the other need not pass through the network then, which may be narrower than the samples have channels.
        stem_kernel: odd size of the first convolution; 1 is cheaper where samples have many channels.
        dropout: probability that a value is dropped within a residual block.
        gradient_checkpointing: whether blocks are computed again in the backward pass rather than remembered.

    Raises:
        ValueError: the lists speak of different numbers of levels, a level has no block or no stride, or
            ``stem_kernel`` is even.
    """

    def __init__(
        self,
        *,
        dims: int,
        channels: int,
        vector_dim: int = 0,
        token_dim: int = 0,
        widths: Sequence[int],
        strides: Sequence[int] | None = None,
        blocks: Sequence[int],
        attention: Sequence[bool],
        head_size: int = 64,
        rotary: bool = False,
        filtered: bool = False,
        gated: bool = False,
        stem_kernel: int = 3,
        dropout: float = 0.0,
        gradient_checkpointing: bool = False,
    ):
        super().__init__()
        strides = [1, *[2] * (len(widths) - 1)] if strides is None else strides
        _check(widths, strides, blocks, attention, stem_kernel)
        embedding_dim = 4 * widths[0]

        def block(in_channels: int, out_channels: int, attend: bool) -> Block:
            return Block(
                in_channels,
                out_channels,
                embedding_dim,
                dims=dims,
                head_size=head_size if attend else 0,
                token_dim=token_dim,
                rotary=rotary,
                dropout=dropout,
            )

        levels = list(zip(widths, blocks, attention, strict=True))
        above = [widths[0], *widths[:-1]]
        below = [*widths[1:], widths[-1]]
        self.token_dim = token_dim
        self.gated = gated
        self.strides = tuple(strides)
        self.downsample = downsample_filtered if filtered else downsample
        self.upsample = upsample_filtered if filtered else upsample
        self.embedding = Embedding(embedding_dim, vector_dim)
        self.stem = convolution(dims, channels, widths[0], stem_kernel)
        self.encoder = nn.ModuleList(
            EncoderStage(
                (block(before if i == 0 else width, width, attend) for i in range(count)), gradient_checkpointing
            )
            for before, (width, count, attend) in zip(above, levels, strict=True)
        )
        self.middle = block(widths[-1], widths[-1], True)
        self.decoder = nn.ModuleList(
            DecoderStage(
                (block((before if i == 0 else width) + width, width, attend) for i in range(count)),
                gradient_checkpointing,
            )
            for before, (width, count, attend) in reversed(list(zip(below, levels, strict=True)))
        )
        self.norm = group_norm(widths[0])
        self.head = zero(convolution(dims, widths[0], 2 * channels if gated else channels, 3))

    def forward(self, x: Tensor, log_snr: Tensor, cond: Conditioning | None = None) -> Tensor:
        """Predict.

        Args:
            x: samples at about unit scale, ``(B, channels, *size)``.
            log_snr: ``log(alpha / sigma)``, ``(B,)``; may be infinite.
            cond: conditions of the B samples; None is the null condition.

        Returns:
            A tensor like ``x``.

        Raises:
            ValueError: ``cond`` holds a vector or tokens, and the network was made for none.
        """
        cond = cond or Conditioning()
        if cond.tokens is not None and not self.token_dim:
            raise ValueError("condition tokens were given to a backbone with token_dim=0")
        embedding = self.embedding(log_snr, cond.vector)
        h = self.stem(pad_to_multiple(x, math.prod(self.strides)))
        skips: list[Tensor] = []
        for stride, level in zip(self.strides, self.encoder, strict=True):
            skips += level(self.downsample(h, stride) if stride > 1 else h, embedding, cond)
            h = skips[-1]
        h = self.middle(h, embedding, cond)
        for stride, level in zip((*self.strides[1:], 1)[::-1], self.decoder, strict=True):
            h = level(self.upsample(h, stride) if stride > 1 else h, skips, embedding, cond)
        output = crop(self.head(F.silu(self.norm(h))), x)
        if not self.gated:
            return output
        made, gate = output.chunk(2, dim=1)
        return torch.addcmul(made, gate, x)


def _check(
    widths: Sequence[int], strides: Sequence[int], blocks: Sequence[int], attention: Sequence[bool], stem_kernel: int
) -> None:
    if not len(widths) == len(strides) == len(blocks) == len(attention) > 0 or min(blocks) < 1:
        raise ValueError(
            f"need one entry a level and 1 block or more, got {widths=}, {strides=}, {blocks=}, {attention=}"
        )
    if strides[0] != 1 or min(strides) < 1:
        raise ValueError(f"the first level has stride 1 and the others at least that, got {strides=}")
    if stem_kernel < 1 or stem_kernel % 2 == 0:
        raise ValueError(f"a convolution that keeps the size is odd, got {stem_kernel=}")


class Block(nn.Module):
    """A residual block, then attention of the positions to one another and to the tokens of the condition.

    ``(B, in_channels, *size)`` to ``(B, out_channels, *size)``.

    Args:
        in_channels: of the input, with those of what is concatenated to it.
        out_channels: of the output.
        embedding_dim: width of the embedding.
        dims: dimensions of ``size``.
        head_size: channels of an attention head; 0 for no attention of either kind.
        token_dim: width of the condition tokens; 0 for no attention to them.
        rotary: whether attention to one another knows of positions, and norms its queries and keys.
        dropout: probability that a value is dropped within the residual block.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding_dim: int,
        *,
        dims: int,
        head_size: int,
        token_dim: int,
        rotary: bool,
        dropout: float,
    ):
        super().__init__()
        self.residual = ResidualBlock(in_channels, out_channels, embedding_dim, dims=dims, dropout=dropout)
        attends, reads = head_size > 0, head_size > 0 and token_dim > 0
        self.self_attention = (
            SelfAttention(out_channels, head_size=head_size, rotary=rotary, query_key_norm=rotary) if attends else None
        )
        self.cross_attention = CrossAttention(out_channels, token_dim, head_size=head_size) if reads else None

    def forward(self, x: Tensor, embedding: Tensor, cond: Conditioning, skip: Tensor | None = None) -> Tensor:
        x = self.residual(x if skip is None else torch.cat([x, skip], dim=1), embedding)
        if self.self_attention is not None:
            x = self.self_attention(x)
        if self.cross_attention is not None:
            x = self.cross_attention(x, cond.tokens, cond.mask)
        return x


class Stage(nn.ModuleList):
    """Blocks of one resolution.

    Args:
        blocks: in order.
        recompute: whether what happens within a block is computed again in the backward pass.
    """

    def __init__(self, blocks: Iterable[Block], recompute: bool):
        super().__init__(blocks)
        self.run = recomputed if recompute else call


class EncoderStage(Stage):
    """Blocks of one resolution; returns what each of them made, for the decoder to use again."""

    def forward(self, x: Tensor, embedding: Tensor, cond: Conditioning) -> list[Tensor]:
        outputs = []
        for block in self:
            x = self.run(block, x, embedding, cond)
            outputs.append(x)
        return outputs


class DecoderStage(Stage):
    """Blocks of one resolution, each of which takes the newest of the encoder's outputs off the stack."""

    def forward(self, x: Tensor, skips: list[Tensor], embedding: Tensor, cond: Conditioning) -> Tensor:
        for block in self:
            x = self.run(block, x, embedding, cond, skips.pop())
        return x
