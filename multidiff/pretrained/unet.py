"""`UNet2DModel` of diffusers as a backbone, which reads the timestep of a noise level."""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.discrete import Betas
from multidiff.diffusion.schedules import Schedule
from multidiff.errors import InputError
from multidiff.pretrained.libraries import library

GROUPS = 32
"""Most groups of a group norm."""


class TimestepUNet(nn.Module):
    """A `UNet2DModel` that is given the timestep at which a schedule of betas has the log SNR, fractional in between.

    Args:
        network: of diffusers.
        schedule: whose timesteps it counts.
        vector_dim: width of the condition vector, which a linear map without bias adds to the embedding of the
            timestep; 0 for none.
    """

    log_snr_range = (-math.inf, math.inf)  # the pipelines of diffusers pass every timestep

    def __init__(self, network: Any, schedule: Betas, vector_dim: int = 0):
        super().__init__()
        self.network: Any = network
        self.schedule = schedule
        width = network.time_embedding.linear_2.out_features
        self.vector = nn.Linear(vector_dim, width, bias=False) if vector_dim else None

    def forward(self, x: Tensor, log_snr: Tensor, cond: Conditioning | None = None) -> Tensor:
        """The output of the network, like ``x``.

        Args:
            x: scaled noisy samples, ``(B, C, H, W)``.
            log_snr: of the samples, ``(B,)``.
            cond: conditions; None is the null condition.

        Raises:
            InputError: H or W is no multiple of the product of the strides.
        """
        multiple = 2 ** (len(self.network.config.block_out_channels) - 1)
        if any(side % multiple for side in x.shape[2:]):
            size = " x ".join(map(str, x.shape[2:]))
            raise InputError(f"this U-Net of diffusers takes sides that are multiples of {multiple}, got {size}")
        timestep = self.schedule.timestep(self.schedule.time(log_snr.double()))
        return self.network(x, timestep, class_labels=self._embedded(x, cond)).sample

    def _embedded(self, x: Tensor, cond: Conditioning | None) -> Tensor | None:
        """What the condition adds to the embedding of the timestep, ``(B, D)``; zero for the null condition."""
        if self.vector is None:
            return None
        if cond is None or cond.vector is None:
            return x.new_zeros(len(x), self.vector.out_features)
        return self.vector(cond.vector)


class DiffusersUNet(TimestepUNet):
    """A `UNet2DModel` with fresh weights, for images.

    Args:
        channels: of the images.
        vector_dim: width of the condition vector; 0 for none.
        token_dim: must be 0: the network reads no text.
        schedule: that of the model, whose timesteps it counts.
        widths: channels of each stage, highest resolution first.
        blocks: residual blocks of each stage on the way down; one more on the way up.
        attention: for each stage, whether its blocks have attention. The middle always has it.
        head_size: channels of each attention head.
        dropout: in the residual blocks.
        gradient_checkpointing: whether to recompute blocks in the backward pass to save memory.

    Raises:
        InputError: the schedule has no timesteps, the conditions are texts, or a number cannot be used.
    """

    def __init__(
        self,
        *,
        channels: int,
        vector_dim: int = 0,
        token_dim: int = 0,
        schedule: Schedule,
        widths: Sequence[int],
        blocks: int,
        attention: Sequence[bool],
        head_size: int,
        dropout: float = 0.0,
        gradient_checkpointing: bool = False,
    ):
        if not isinstance(schedule, Betas):
            raise InputError(
                f"this U-Net of diffusers reads timesteps, which {type(schedule).__name__} does not have: choose "
                "schedule=betas_linear, betas_scaled_linear or betas_cosine"
            )
        if token_dim:
            raise InputError("this U-Net of diffusers reads no text: choose conditioning=label or none")
        if len(widths) != len(attention) or not widths or min(*widths, head_size, blocks) < 1:
            raise InputError(f"need a width and an attention of each stage, and blocks, got {widths=}, {attention=}")
        attending = {width for width, attends in zip(widths, attention, strict=True) if attends} | {widths[-1]}
        if any(width % head_size for width in attending):
            raise InputError(f"widths with attention are multiples of {head_size=}, got {sorted(attending)}")
        network = library("diffusers").UNet2DModel(
            in_channels=channels,
            out_channels=channels,
            block_out_channels=tuple(widths),
            layers_per_block=blocks,
            attention_head_dim=head_size,
            norm_num_groups=math.gcd(GROUPS, *widths),
            dropout=dropout,
            class_embed_type="identity" if vector_dim else None,
            **_blocks(attention),
        )
        if gradient_checkpointing:
            network.enable_gradient_checkpointing()
        super().__init__(network, schedule, vector_dim)


def _blocks(attention: Sequence[bool]) -> dict[str, Any]:
    """The kinds of the blocks of all stages."""
    kinds = ["Attn" if attends else "" for attends in attention]
    return {
        "down_block_types": tuple(f"{kind}DownBlock2D" for kind in kinds),
        "up_block_types": tuple(f"{kind}UpBlock2D" for kind in reversed(kinds)),
    }
