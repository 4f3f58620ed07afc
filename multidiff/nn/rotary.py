"""Positions as rotations of queries and keys."""

import torch
from torch import Tensor


def rotated(x: Tensor, size: torch.Size, base: float = 10000.0) -> Tensor:
    """``x`` with each pair of channels turned by an angle proportional to its position along one of the axes.

    The product of a query and a key rotated so depends on how far apart they are, never on where: what is learned at
    one length holds at another. Su et al. (2021), eq. 34, https://arxiv.org/abs/2104.09864; with several axes, each has
    an equal share of the pairs. Half precision cannot tell the angles of far positions apart; single precision does.

    Args:
        x: queries or keys, ``(B, heads, N, D)``, N being the product of ``size``.
        size: of the field that they are the positions of, one number an axis, last axis fastest.
        base: of the angular frequencies, which are ``base^(-i / pairs)`` a position.

    Raises:
        ValueError: D is not a multiple of twice the number of axes.
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32)).contiguous()
    angles = _angles(wide, size, base)
    turned = torch.view_as_complex(wide.unflatten(-1, (-1, 2))) * torch.polar(torch.ones_like(angles), angles)
    return torch.view_as_real(turned).flatten(-2).to(x.dtype)


def _angles(x: Tensor, size: torch.Size, base: float) -> Tensor:
    """``(N, D / 2)``, the pairs of the first axis first."""
    if x.shape[-1] % (2 * len(size)):
        raise ValueError(f"heads of {x.shape[-1]} channels hold no equal number of pairs for {len(size)} axes")
    pairs = x.shape[-1] // (2 * len(size))
    frequencies = base ** -(torch.arange(pairs, dtype=x.dtype, device=x.device) / pairs)
    places = torch.cartesian_prod(*(torch.arange(side, device=x.device) for side in size)).reshape(-1, len(size))
    return (places[:, :, None] * frequencies).flatten(1)
