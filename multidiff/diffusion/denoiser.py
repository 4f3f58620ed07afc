"""Denoisers: from a noisy sample to an estimate of the clean sample."""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.predictions import Prediction
from multidiff.diffusion.schedules import Schedule, check_schedule

Backbone = Callable[[Tensor, Tensor, Conditioning | None], Tensor]
"""``(x, log_snr, cond) -> tensor like x``; with further inputs, a mapping of their values is a fourth argument."""


class Denoiser(nn.Module):
    """Estimates the posterior mean of x0 given x_t: the only interface of a model that samplers and guidance use.

    Attributes:
        schedule: relates t to the noise in x_t.
        inputs: names of further inputs that the network takes.
        masked: whether the network sees a mask and the picture outside of it, as models for inpainting do.
        log_snr_range: lowest and highest log SNR that the network was trained at.
    """

    schedule: Schedule
    log_snr_range: tuple[float, float] = (-math.inf, math.inf)
    inputs: tuple[str, ...] = ()
    masked: bool = False

    @abstractmethod
    def forward(self, x_t: Tensor, t: Tensor, cond: Conditioning | None = None) -> Tensor:
        """Estimate x0.

        Args:
            x_t: noisy samples, ``(B, C, *size)``.
            t: times in [0, 1], ``(B,)``, or one time for the whole batch, ``()``.
            cond: conditions of the B samples.
        """


class NetworkDenoiser(Denoiser):
    """A network whose output a schedule and a prediction turn into an x0 estimate.

    A network may name further inputs in its attribute ``inputs``: ``second_time``, the log SNR of the time s to which
    the estimate leads, and ``guidance``, the guidance scale that the estimate shall have. It is then called with a
    mapping of their values, each ``(B,)``. Without values, s is t, and the scale is 1.

    Args:
        network: a `Backbone`.
        schedule: see `Denoiser`.
        prediction: what the network outputs.
        log_snr_range: see `Denoiser`. The log SNR that the network takes is clamped to it, since its outputs are
            arbitrary at noise levels that it was not trained at, such as that of t = 1, where samples start. An
            attribute ``log_snr_range`` of the network takes precedence.

    Raises:
        ValueError: the functions of the schedule contradict each other, or it does not start at clean samples.
    """

    def __init__(
        self,
        network: nn.Module,
        schedule: Schedule,
        prediction: Prediction,
        log_snr_range: tuple[float, float] = (-math.inf, math.inf),
    ):
        super().__init__()
        check_schedule(schedule)
        self.network = network
        self.schedule = schedule
        self.prediction = prediction
        self.log_snr_range = getattr(network, "log_snr_range", log_snr_range)
        self.inputs = tuple(getattr(network, "inputs", ()))

    def forward(
        self,
        x_t: Tensor,
        t: Tensor,
        cond: Conditioning | None = None,
        s: Tensor | None = None,
        scale: Tensor | None = None,
    ) -> Tensor:
        a, sigma = coefficients(self.schedule, t, x_t)
        return self.prediction.to_x0(self.output(x_t, t, cond, s, scale), x_t, a, sigma)

    def output(
        self,
        x_t: Tensor,
        t: Tensor,
        cond: Conditioning | None = None,
        s: Tensor | None = None,
        scale: Tensor | None = None,
    ) -> Tensor:
        """The raw output of the network, on which the loss is computed.

        Args:
            x_t: noisy samples, ``(B, C, *size)``.
            t: times in [0, 1], ``(B,)`` or ``()``.
            cond: conditions of the B samples.
            s: second times, likewise, for networks with a second time.
            scale: guidance scales, ``(B,)`` or ``()``, for networks that apply guidance by themselves.

        Raises:
            ValueError: the network does not take a given input, or returns no tensor like ``x_t``.
        """
        a, sigma = coefficients(self.schedule, t, x_t)
        log_snr = self._clamped_log_snr(t, x_t).expand(len(x_t))
        further = self._further(log_snr, s, scale)
        arguments = (further,) if further else ()
        output = self.network(self.prediction.scale_input(x_t, a, sigma), log_snr, cond, *arguments)
        return alike(f"the network {type(self.network).__name__}", output, x_t)

    def sized(self, shape: Sequence[int]) -> "NetworkDenoiser":
        """This denoiser for x0 of ``shape``, ``(C, *size)``, if its schedule depends on the size; here, itself."""
        return self

    def seeing(self, mask: Tensor, known: Tensor) -> "NetworkDenoiser":
        """This inpainting denoiser for a known picture: one for all samples, or one for each; see `masked`.

        Args:
            mask: true where the sample is regenerated, in the shape of x0, or of a batch of it.
            known: x0 of the picture without that part, likewise.

        Raises:
            ValueError: the network sees no mask.
        """
        raise ValueError("this network sees no mask")

    def _clamped_log_snr(self, t: Tensor, like: Tensor) -> Tensor:
        return self.schedule.log_snr(t).clamp(*self.log_snr_range).to(like)

    def _further(self, log_snr: Tensor, s: Tensor | None, scale: Tensor | None) -> dict[str, Tensor]:
        """The values of the further inputs of the network."""
        until = None if s is None else self._clamped_log_snr(s, log_snr).expand_as(log_snr)
        given = {"second_time": until, "guidance": None if scale is None else scale.to(log_snr).expand_as(log_snr)}
        unknown = [name for name, value in given.items() if value is not None and name not in self.inputs]
        if unknown:
            raise ValueError(f"the network does not take the input {unknown[0]}; it must name it in its `inputs`")
        absent = {"second_time": log_snr, "guidance": torch.ones_like(log_snr)}
        return {name: absent[name] if given[name] is None else given[name] for name in self.inputs}  # type: ignore[misc]


class Wrapper(Denoiser):
    """A denoiser that works with the estimates of another, and has its schedule and its range of noise levels."""

    def __init__(self, denoiser: Denoiser):
        super().__init__()
        self.denoiser = denoiser
        self.schedule, self.log_snr_range = denoiser.schedule, denoiser.log_snr_range


class Observed(Wrapper):
    """A denoiser that passes each x0 estimate to a function; an error raised by the function ends the sampling."""

    def __init__(self, denoiser: Denoiser, observe: Callable[[Tensor], None]):
        super().__init__(denoiser)
        self.observe = observe

    def forward(self, x_t: Tensor, t: Tensor, cond: Conditioning | None = None) -> Tensor:
        x0 = self.denoiser(x_t, t, cond)
        self.observe(x0)
        return x0


def alike(what: str, returned: Tensor, x: Tensor) -> Tensor:
    """The tensor that ``what`` returned.

    Raises:
        ValueError: it is no tensor of the shape of ``x``.
    """
    if not isinstance(returned, Tensor) or returned.shape != x.shape:
        got = tuple(returned.shape) if isinstance(returned, Tensor) else type(returned).__name__
        raise ValueError(f"{what} must return a tensor of shape {tuple(x.shape)}, got {got}")
    return returned


def coefficients(schedule: Schedule, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Alpha and sigma at ``t``, ``(B,)`` or ``()``: in the dtype and on the device of ``x``, broadcastable to it."""
    shape = (*t.shape, *[1] * (x.ndim - t.ndim))
    return schedule.alpha(t).to(x).reshape(shape), schedule.sigma(t).to(x).reshape(shape)
