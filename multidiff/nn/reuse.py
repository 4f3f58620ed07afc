"""Features that neighbouring evaluations of a network share."""

from collections.abc import Callable

from torch import Tensor, nn

from multidiff.diffusion.conditioning import Conditioning
from multidiff.nn.embeddings import Further

Partly = Callable[..., tuple[Tensor, Tensor]]
"""As `UNet.partly`: ``(x, log_snr, cond, further, deep) -> (output, deep)``."""


class ReusedFeatures(nn.Module):
    """A network that computes its deep features at every n-th evaluation and extrapolates them in between.

    The evaluations in between run the rest of the network on features ``d + k / n (d - d')``, where d and d' are the
    last two that were computed and k counts the evaluations since. Copying d alone is DeepCache, Ma et al. (2023),
    https://arxiv.org/abs/2312.00858; the line is the first order of TaylorSeer, Liu et al. (2025),
    https://arxiv.org/abs/2503.06923. Features are computed when the noise rises and when the batch changes. Which
    evaluations compute them does not depend on the samples, so that a sample does not depend on its batch.

    It remembers features: make one for each sampling call.

    Args:
        network: has a method ``partly``.
        every: n.
        partly: that method, or a compiled form of it.
    """

    def __init__(self, network: nn.Module, every: int, partly: Partly):
        super().__init__()
        self.network, self.every, self.partly = network, every, partly
        self.inputs = tuple(getattr(network, "inputs", ()))
        self.computed: list[Tensor] = []
        self.since, self.last = 0, None

    last: Tensor | None

    def forward(self, x: Tensor, log_snr: Tensor, cond: Conditioning | None = None, further: Further = None) -> Tensor:
        if self.last is None or len(self.last) != len(log_snr) or bool((log_snr < self.last).any()):
            self.computed = []
        self.last = log_snr
        if not self.computed or self.since + 1 == self.every:
            output, deep = self.partly(x, log_snr, cond, further)
            self.computed, self.since = [deep, *self.computed[:1]], 0
            return output
        self.since += 1
        newest, before = self.computed[0], self.computed[-1]
        return self.partly(x, log_snr, cond, further, newest + self.since / self.every * (newest - before))[0]
