"""The backbone for sounds."""

from collections.abc import Sequence

from multidiff.nn import unet


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
        stem_kernel: odd size of the first convolution, in frames.
        dropout: probability that a value is dropped within a residual block.
        gradient_checkpointing: whether blocks are computed again in the backward pass rather than remembered.

    Raises:
        ValueError: the lists speak of different numbers of levels, a level has no block or no stride, or
            ``stem_kernel`` is even.
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
        stem_kernel: int = 3,
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
            stem_kernel=stem_kernel,
            dropout=dropout,
            gradient_checkpointing=gradient_checkpointing,
        )
