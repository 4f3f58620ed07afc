"""The U-Net backbone, in one, two or three dimensions."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multidiff.diffusion.conditioning import Conditioning
from multidiff.errors import InputError
from multidiff.nn.attention import CrossAttention, SelfAttention
from multidiff.nn.checkpointing import call, checkpointed
from multidiff.nn.embeddings import Embedding, Further
from multidiff.nn.initialization import zero_init
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
from multidiff.nn.stages import stages_of_frames, stages_of_pixels


class UNet(nn.Module):
    """The U-Net of ADM, with the resampling of EDM2 (average pooling and nearest neighbour) or with a low-pass filter.

    Every encoder block has a skip connection to the decoder, by concatenation. Inputs of any size are zero-padded to a
    multiple of the product of the strides, and the output is cropped back. The output is zero at initialisation.
    Dhariwal and Nichol (2021), section 3, https://arxiv.org/abs/2105.05233.

    Args:
        dims: number of dimensions of the samples: 1, 2 or 3.
        channels: channels of the samples.
        vector_dim: width of the condition vector; 0 for none.
        token_dim: width of the condition tokens, the context of cross-attention; 0 for none.
        widths: channels of each stage, highest resolution first.
        strides: downsampling factor of each stage relative to the previous one; the first is 1. By default 2.
        blocks: residual blocks of each stage, in the encoder and in the decoder.
        attention: for each stage, whether its blocks have attention. The middle block always has it.
        head_size: channels of each attention head. Small heads are slow: 8 takes six times as long as 64.
        rotary: whether self-attention uses rotary position embeddings and query-key norm.
        filtered: whether to resample with an anti-aliasing low-pass filter, as waveforms need.
        gated: whether to add the input, multiplied by a predicted elementwise gate, to the output. The network may then
            be narrower than the number of sample channels.
        stem_kernel: kernel size of the first convolution, odd; 1 is faster for samples with many channels.
        dropout: dropout probability in the residual blocks.
        gradient_checkpointing: whether to recompute blocks in the backward pass to save memory.
        inputs: further inputs that the network takes, see `multidiff.nn.embeddings.INPUTS`.

    Raises:
        ValueError: the lists differ in length, a stage has no block, a stride is below 1 or the first is not 1, or
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
        inputs: Sequence[str] = (),
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

        stages = list(zip(widths, blocks, attention, strict=True))
        self.token_dim, self.gated = token_dim, gated
        self.strides = tuple(strides)
        self.downsample = downsample_filtered if filtered else downsample
        self.upsample = upsample_filtered if filtered else upsample
        self.embedding = Embedding(embedding_dim, vector_dim, inputs)
        self.inputs = tuple(inputs)
        self.stem = convolution(dims, channels, widths[0], stem_kernel)
        self.encoder = nn.ModuleList(
            EncoderStage(
                (block(before if i == 0 else width, width, attend) for i in range(count)), gradient_checkpointing
            )
            for before, (width, count, attend) in zip([widths[0], *widths[:-1]], stages, strict=True)
        )
        self.middle = block(widths[-1], widths[-1], True)
        self.decoder = nn.ModuleList(
            DecoderStage(
                (block((before if i == 0 else width) + width, width, attend) for i in range(count)),
                gradient_checkpointing,
            )
            for before, (width, count, attend) in reversed(list(zip([*widths[1:], widths[-1]], stages, strict=True)))
        )
        self.norm = group_norm(widths[0])
        self.head = zero_init(convolution(dims, widths[0], 2 * channels if gated else channels, 3))

    @classmethod
    def fitted(cls, config: Mapping[str, Any], shape: Sequence[int], accelerated: bool) -> dict[str, Any]:
        """Two stages or more for x0 of ``shape``, with most of the work at the last.

        Of images, they go down to 8 to 15 positions a side; on a CPU and for 64x64 they are those of
        ``experiment=image/emoji_text``. Of the frames of sounds, they go down to at most 100; on a CPU and for up to
        300 they are those of ``backbone=unet1d_small``.
        """
        lists = [config[name] for name in ("widths", "strides", "blocks", "attention") if name in config]
        given = [each for each in lists if each is not None]
        if len(given) == len(lists):
            return {}
        stages, dims = len(given[0]) if given else None, config["dims"]
        if dims == len(shape) - 1 == 1:
            return stages_of_frames(shape[1], stages, accelerated)
        if dims == len(shape) - 1 == 2:
            return stages_of_pixels(min(shape[1:]), stages, accelerated)
        raise InputError(
            f"backbone.widths, blocks and attention follow from the size of images (dims=2) and sounds (dims=1), not "
            f"with dims={dims} from samples of {'x'.join(map(str, shape))}: set them, or choose another backbone"
        )

    def forward(self, x: Tensor, log_snr: Tensor, cond: Conditioning | None = None, further: Further = None) -> Tensor:
        """Compute the network output.

        Args:
            x: samples at about unit scale, ``(B, channels, *size)``.
            log_snr: ``log(alpha / sigma)``, ``(B,)``; may be infinite.
            cond: conditions of the B samples; None is the null condition.
            further: values of the further inputs, each ``(B,)``.

        Returns:
            A tensor like ``x``.

        Raises:
            ValueError: ``cond`` has a vector or tokens for which the network has no width.
        """
        return self.partly(x, log_snr, cond, further)[0]

    def partly(
        self,
        x: Tensor,
        log_snr: Tensor,
        cond: Conditioning | None = None,
        further: Further = None,
        deep: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The output, and the features from below the first stage, which change little between noise levels.

        Ma et al. (2023), DeepCache, https://arxiv.org/abs/2312.00858.

        Args:
            x: as for `forward`, and so are the following.
            log_snr: see there.
            cond: see there.
            further: see there.
            deep: features to use in place of those below the first stage, which are then not computed.
        """
        cond = cond or Conditioning()
        if cond.tokens is not None and not self.token_dim:
            raise ValueError("condition tokens were given to a backbone with token_dim=0")
        embedding = self.embedding(log_snr, cond.vector, further)
        skips = self.encoder[0](self.stem(pad_to_multiple(x, math.prod(self.strides))), embedding, cond)
        if deep is None:
            deep = self._below(skips[-1], embedding, cond)
        h = self.decoder[-1](self._up(deep, math.prod(self.strides[1:2])), skips, embedding, cond)
        output = crop(self.head(F.silu(self.norm(h))), x)
        if not self.gated:
            return output, deep
        residual, gate = output.chunk(2, dim=1)
        return torch.addcmul(residual, gate, x), deep

    def _below(self, h: Tensor, embedding: Tensor, cond: Conditioning) -> Tensor:
        """The stages below the first one: from the last output of its encoder to the input of its decoder."""
        skips: list[Tensor] = []
        for stride, stage in zip(self.strides[1:], list(self.encoder)[1:], strict=True):
            skips += stage(self.downsample(h, stride) if stride > 1 else h, embedding, cond)
            h = skips[-1]
        h = self.middle(h, embedding, cond)
        for stage, stride in zip(list(self.decoder)[:-1], (1, *self.strides[:1:-1]), strict=False):
            h = stage(self._up(h, stride), skips, embedding, cond)
        return h

    def _up(self, h: Tensor, stride: int) -> Tensor:
        return self.upsample(h, stride) if stride > 1 else h


def _check(
    widths: Sequence[int], strides: Sequence[int], blocks: Sequence[int], attention: Sequence[bool], stem_kernel: int
) -> None:
    if not len(widths) == len(strides) == len(blocks) == len(attention) > 0 or min(blocks) < 1:
        raise ValueError(
            f"need one entry per stage and at least 1 block in each, got {widths=}, {strides=}, {blocks=}, {attention=}"
        )
    if strides[0] != 1 or min(strides) < 1:
        raise ValueError(f"strides must be at least 1, and the first must be 1, got {strides=}")
    if stem_kernel < 1 or stem_kernel % 2 == 0:
        raise ValueError(f"stem_kernel must be odd, got {stem_kernel}")


class Block(nn.Module):
    """A residual block, then optional self-attention and cross-attention to the condition tokens.

    ``(B, in_channels, *size)`` to ``(B, out_channels, *size)``.

    Args:
        in_channels: channels of the input, including those of the skip connection.
        out_channels: channels of the output.
        embedding_dim: width of the embedding.
        dims: number of dimensions of ``size``.
        head_size: channels of each attention head; 0 for no attention.
        token_dim: width of the condition tokens; 0 for no cross-attention.
        rotary: whether self-attention uses rotary position embeddings and query-key norm.
        dropout: dropout probability in the residual block.
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
        has_self, has_cross = head_size > 0, head_size > 0 and token_dim > 0
        self.self_attention = (
            SelfAttention(out_channels, head_size=head_size, rotary=rotary, query_key_norm=rotary) if has_self else None
        )
        self.cross_attention = CrossAttention(out_channels, token_dim, head_size=head_size) if has_cross else None

    def forward(self, x: Tensor, embedding: Tensor, cond: Conditioning, skip: Tensor | None = None) -> Tensor:
        x = self.residual(x if skip is None else torch.cat([x, skip], dim=1), embedding)
        if self.self_attention is not None:
            x = self.self_attention(x)
        if self.cross_attention is not None:
            x = self.cross_attention(x, cond.tokens, cond.mask)
        return x


class Stage(nn.ModuleList):
    """The blocks of one resolution.

    Args:
        blocks: blocks in order.
        recompute: whether to use gradient checkpointing.
    """

    def __init__(self, blocks: Iterable[Block], recompute: bool):
        super().__init__(blocks)
        self.run = checkpointed if recompute else call


class EncoderStage(Stage):
    """Encoder blocks of one resolution; returns the output of each, for the skip connections."""

    def forward(self, x: Tensor, embedding: Tensor, cond: Conditioning) -> list[Tensor]:
        outputs = []
        for block in self:
            x = self.run(block, x, embedding, cond)
            outputs.append(x)
        return outputs


class DecoderStage(Stage):
    """Decoder blocks of one resolution; each pops the latest encoder output from ``skips``."""

    def forward(self, x: Tensor, skips: list[Tensor], embedding: Tensor, cond: Conditioning) -> Tensor:
        for block in self:
            x = self.run(block, x, embedding, cond, skips.pop())
        return x
