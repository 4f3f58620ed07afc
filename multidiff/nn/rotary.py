"""Rotary position embeddings (RoPE)."""

import torch
from torch import Tensor


def apply_rotary(x: Tensor, size: torch.Size, base: float = 10000.0) -> Tensor:
    """Rotate each pair of channels of ``x`` by an angle proportional to the position along one axis.

    Inner products of rotated queries and keys depend on relative positions only, so that attention carries over to
    other sizes. Su et al. (2021), eq. 34, https://arxiv.org/abs/2104.09864; with several axes, the pairs are divided
    equally among them. Angles are computed in single precision at least, because half precision cannot resolve distant
    positions.

    Args:
        x: queries or keys, ``(B, heads, N, D)``, where N is the product of ``size``.
        size: size of the sample along each axis; positions are in row-major order.
        base: angular frequencies are ``base^(-i / pairs)`` per position.

    Raises:
        ValueError: D is not a multiple of twice the number of axes.
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32)).contiguous()
    angles = _angles(wide, size, base)
    turned = torch.view_as_complex(wide.unflatten(-1, (-1, 2))) * torch.polar(torch.ones_like(angles), angles)
    return torch.view_as_real(turned).flatten(-2).to(x.dtype)


def _angles(x: Tensor, size: torch.Size, base: float) -> Tensor:
    """Rotation angles, ``(N, D / 2)``, with the pairs of the first axis first."""
    if x.shape[-1] % (2 * len(size)):
        raise ValueError(f"heads of {x.shape[-1]} channels have no equal number of pairs for {len(size)} axes")
    pairs = x.shape[-1] // (2 * len(size))
    frequencies = base ** -(torch.arange(pairs, dtype=x.dtype, device=x.device) / pairs)
    places = torch.cartesian_prod(*(torch.arange(side, device=x.device) for side in size)).reshape(-1, len(size))
    return (places[:, :, None] * frequencies).flatten(1)
