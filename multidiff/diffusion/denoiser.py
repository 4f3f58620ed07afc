"""Denoisers: from a noisy sample to an estimate of the clean sample."""

from abc import abstractmethod
from collections.abc import Callable

from torch import Tensor, nn

from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.predictions import Prediction
from multidiff.diffusion.schedules import Schedule

Backbone = Callable[[Tensor, Tensor, Conditioning | None], Tensor]
"""``(x, log_snr, cond) -> tensor like x``."""


class Denoiser(nn.Module):
    """Estimates the posterior mean of x0 given x_t: the only interface of a model that samplers and guidance use."""

    schedule: Schedule

    @abstractmethod
    def forward(self, x_t: Tensor, t: Tensor, cond: Conditioning | None = None) -> Tensor:
        """Estimate x0.

        Args:
            x_t: noisy samples, ``(B, C, *size)``.
            t: times in [0, 1], ``(B,)``, or one time for the whole batch, ``()``.
            cond: conditions of the B samples.
        """


class NetworkDenoiser(Denoiser):
    """A network whose output a schedule and a prediction turn into an x0 estimate."""

    def __init__(self, network: nn.Module, schedule: Schedule, prediction: Prediction):
        super().__init__()
        self.network = network
        self.schedule = schedule
        self.prediction = prediction

    def forward(self, x_t: Tensor, t: Tensor, cond: Conditioning | None = None) -> Tensor:
        a, s = coefficients(self.schedule, t, x_t)
        return self.prediction.to_x0(self.output(x_t, t, cond), x_t, a, s)

    def output(self, x_t: Tensor, t: Tensor, cond: Conditioning | None = None) -> Tensor:
        """The raw output of the network, on which the loss is computed."""
        a, s = coefficients(self.schedule, t, x_t)
        log_snr = self.schedule.log_snr(t).to(x_t).expand(len(x_t))
        return self.network(self.prediction.scale_input(x_t, a, s), log_snr, cond)


class Observed(Denoiser):
    """A denoiser whose estimates of x0 a function is shown; an error that it raises ends the sampling."""

    def __init__(self, denoiser: Denoiser, observe: Callable[[Tensor], None]):
        super().__init__()
        self.denoiser, self.schedule = denoiser, denoiser.schedule
        self.observe = observe

    def forward(self, x_t: Tensor, t: Tensor, cond: Conditioning | None = None) -> Tensor:
        x0 = self.denoiser(x_t, t, cond)
        self.observe(x0)
        return x0


def coefficients(schedule: Schedule, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Alpha and sigma at ``t``, ``(B,)`` or ``()``: in the dtype and on the device of ``x``, broadcastable to it."""
    shape = (*t.shape, *[1] * (x.ndim - t.ndim))
    return schedule.alpha(t).to(x).reshape(shape), schedule.sigma(t).to(x).reshape(shape)
