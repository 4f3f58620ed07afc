"""The distance of features at several scales."""

import torch
from torch import Tensor, nn

from multidiff.nn.frozen import Frozen


class Perceptual(nn.Module):
    """The mean squared distance of features whose channels are normalised at each position, over several layers.

    As LPIPS, with equal weights: Zhang et al. (2018), https://arxiv.org/abs/1801.03924.

    Args:
        layers: of a trained network, in order; frozen here.
        taken: numbers of the layers whose outputs are compared.
    """

    def __init__(self, layers: nn.Sequential, taken: tuple[int, ...]):
        super().__init__()
        self.layers = Frozen(nn.ModuleList(layers))
        self.taken = taken

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """The distance of two batches ``(B, C, *size)``, a scalar."""
        distances = []
        both = torch.cat([first, second])
        layers: nn.ModuleList = self.layers.module  # type: ignore[assignment]
        for number, layer in enumerate(layers):
            both = layer(both)
            if number in self.taken:
                a, b = nn.functional.normalize(both, dim=1).chunk(2)
                distances.append((a - b).square().sum(dim=1).mean())
        return torch.stack(distances).mean()
