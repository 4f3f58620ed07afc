"""The backbone for sounds."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from multidiff.nn import unet
from multidiff.nn.residual import convolution

QUIET = 1e-4
"""Square of the value below which magnitudes say nothing: it keeps the slope of their root finite."""


class WithMagnitudes(nn.Module):
    """Channels, then the square roots of their magnitudes: ``(B, C, L)`` to ``(B, 2 C, L)``."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, (x.square() + QUIET) ** 0.25], dim=1)


class UNet(unet.UNet):
    """The U-Net in one dimension: anti-aliased resampling, and attention that knows of positions in time.

    Any number of frames goes in and comes out.

    Args:
        channels: of a frame.
        vector_dim: width of the condition vector; 0 for none.
        token_dim: width of the condition tokens, which every block that attends reads; 0 for none.
        widths: channels of each level, finest first.
        strides: by how much each level is coarser than the one before; the first is 1.
        blocks: residual blocks of each level on the way down, and again on the way up.
        attention: for each level, whether its blocks attend. The block in the middle always does.
        head_size: channels of an attention head, even.
        gated: whether the input, times a gate, is added to the output: for frames with more channels than the network.
        magnitudes: whether the network also sees how large each value is. How loud a noise is, a hiss or the tail of a
            snare, is a mean of magnitudes; sums of values, whose signs are arbitrary, tell little of it.
        dropout: probability that a value is dropped within a residual block.
        gradient_checkpointing: whether blocks are computed again in the backward pass rather than remembered.

    Raises:
        ValueError: the lists speak of different numbers of levels, or a level has no block or no stride.
    """

    def __init__(
        self,
        *,
        channels: int,
        vector_dim: int = 0,
        token_dim: int = 0,
        widths: Sequence[int],
        strides: Sequence[int],
        blocks: Sequence[int],
        attention: Sequence[bool],
        head_size: int = 64,
        gated: bool = False,
        magnitudes: bool = False,
        dropout: float = 0.0,
        gradient_checkpointing: bool = False,
    ):
        super().__init__(
            dims=1,
            channels=channels,
            vector_dim=vector_dim,
            token_dim=token_dim,
            widths=widths,
            strides=strides,
            blocks=blocks,
            attention=attention,
            head_size=head_size,
            rotary=True,
            filtered=True,
            gated=gated,
            dropout=dropout,
            gradient_checkpointing=gradient_checkpointing,
        )
        if magnitudes:
            self.stem = nn.Sequential(WithMagnitudes(), convolution(1, 2 * channels, widths[0], 3))
