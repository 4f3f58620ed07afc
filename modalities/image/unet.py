"""The backbone for images."""

from collections.abc import Sequence

from multidiff.nn import unet


class UNet(unet.UNet):
    """The U-Net in two dimensions, each level halving the sides of the one before.

    Args:
        channels: of the image.
        vector_dim: width of the condition vector; 0 for none.
        token_dim: width of the condition tokens, which every block that attends reads; 0 for none.
        widths: channels of each level, finest first.
        blocks: residual blocks of each level on the way down, and again on the way up.
        attention: for each level, whether its blocks attend. The block in the middle always does.
        head_size: channels of an attention head. Small heads are slow: 8 takes six times as long as 64.
        dropout: probability that a value is dropped within a residual block.
        gradient_checkpointing: whether blocks are computed again in the backward pass rather than remembered.

    Raises:
        ValueError: the lists speak of different numbers of levels, or a level has no block.
    """

    def __init__(
        self,
        *,
        channels: int,
        vector_dim: int = 0,
        token_dim: int = 0,
        widths: Sequence[int],
        blocks: Sequence[int],
        attention: Sequence[bool],
        head_size: int = 64,
        dropout: float = 0.0,
        gradient_checkpointing: bool = False,
    ):
        super().__init__(
            dims=2,
            channels=channels,
            vector_dim=vector_dim,
            token_dim=token_dim,
            widths=widths,
            strides=[1, *[2] * (len(widths) - 1)],
            blocks=blocks,
            attention=attention,
            head_size=head_size,
            dropout=dropout,
            gradient_checkpointing=gradient_checkpointing,
        )
