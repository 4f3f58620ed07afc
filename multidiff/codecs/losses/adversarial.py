"""A discriminator of patches, with the weight that balances it against the rest of the loss."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from multidiff.nn.local import LocalBlock, patching
from multidiff.nn.residual import convolution

LARGEST = 1e4
"""The weight of the adversarial term, at most."""


class PatchDiscriminator(nn.Module):
    """Convolutions that judge patches of the data; ``(B, C, *size)`` to ``(B, 1, *size / factor)``.

    Isola et al. (2017), section 3.2, https://arxiv.org/abs/1611.07004.

    Args:
        dims: number of dimensions of ``size``.
        channels: C.
        width: of the first layer; each of the next has twice as many channels.
        strides: of the layers.
    """

    def __init__(self, dims: int, channels: int, width: int, strides: tuple[int, ...]):
        super().__init__()
        layers: list[nn.Module] = []
        before = channels
        for i, stride in enumerate(strides):
            layers += [patching(dims, before, width * 2**i, stride), LocalBlock(dims, width * 2**i, 3, snake=False)]
            before = width * 2**i
        self.layers = nn.Sequential(*layers, convolution(dims, before, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def adversarial_terms(
    discriminator: nn.Module, real: Tensor, fake: Tensor, reconstruction: Tensor, last: Tensor, active: bool
) -> dict[str, Tensor]:
    """The terms that train the decoder and the discriminator, by the hinge loss, in one backward pass.

    The decoder's term passes through the discriminator without a gradient for its weights. It is weighted so that its
    gradient at ``last`` is as large as that of the reconstruction. Esser et al. (2021), eq. 7,
    https://arxiv.org/abs/2012.09841.

    Args:
        discriminator: of data.
        real: data.
        fake: their reconstruction.
        reconstruction: the rest of the loss, a scalar.
        last: the last weight of the decoder.
        active: whether the terms count; otherwise they are 0, and every parameter still takes part.
    """
    fixed: dict[str, Any] = {name: weight.detach() for name, weight in discriminator.named_parameters()}
    fooled = -functional_call(discriminator, fixed, (fake,)).mean()
    judged = torch.stack([F.relu(1 - discriminator(real)).mean(), F.relu(1 + discriminator(fake.detach())).mean()])
    if not active:
        return {"adversarial": 0 * fooled, "discriminator": 0 * judged.sum()}
    wanted, given = (torch.autograd.grad(loss, last, retain_graph=True)[0].norm() for loss in (reconstruction, fooled))
    weight = (wanted / (given + 1e-4)).clamp(max=LARGEST).detach()
    return {"adversarial": weight * fooled, "discriminator": judged.mean()}
