"""Standardised channels."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from multidiff.codecs.base import Identity, Shape
from multidiff.errors import InputError

SURVEYED = 256
"""Samples that the statistics are taken from, evenly spread over the data."""

SMALLEST = 1e-3
"""Standard deviation that a constant channel is given, as a fraction of its mean; of a channel of zeros, as it is."""


class Scaling(Identity):
    """Each channel minus its mean, divided by its standard deviation: x0 at unit scale.

    Args:
        mean: of each channel; None until the data are known.
        deviation: standard deviation of each channel, above 0; None until the data are known.
        shared: number of neighbouring channels that share one deviation: 3 keeps the directions of 3-d vectors.

    Raises:
        ValueError: a deviation is not above 0, or the numbers of means and deviations differ.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Sequence[float] | None = None, deviation: Sequence[float] | None = None, shared: int = 1):
        super().__init__()
        mean, deviation = mean or [], deviation or []
        if len(mean) != len(deviation) or not all(value > 0 for value in deviation):
            raise ValueError(f"need a mean and a deviation above 0 for each channel, got {mean} and {deviation}")
        if shared < 1:
            raise ValueError(f"shared is a number of channels, at least 1, got {shared}")
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation), persistent=False)

    @classmethod
    def settings_from(cls, config: Mapping[str, Any], data: Sequence[Tensor]) -> dict[str, Any]:
        """Mean and deviation over `SURVEYED` samples, rounded to six digits so that a config can state them."""
        given = [config.get(name) is not None for name in ("mean", "deviation")]
        if all(given):
            return {}
        shared, channels = config.get("shared", 1), len(data[0])
        if any(given) or type(shared) is not int or shared < 1 or channels % shared:
            raise InputError(
                "codec.mean and codec.deviation are given together or not at all, and codec.shared divides the "
                f"{channels} channels, got {config.get('mean')}, {config.get('deviation')} and {shared!r}"
            )
        values = torch.cat([sample.double().flatten(1) for sample in surveyed(data)], dim=1)
        mean = values.mean(dim=1)
        size = mean.square().reshape(-1, shared).mean(dim=1).sqrt()
        deviation = values.var(dim=1, correction=0).reshape(-1, shared).mean(dim=1).sqrt()
        deviation = torch.maximum(deviation, SMALLEST * torch.where(deviation + size == 0, 1.0, size))
        return {"mean": _rounded(mean), "deviation": _rounded(deviation.repeat_interleave(shared))}

    def shape(self, data_shape: Shape) -> Shape:
        if len(self.mean) not in (0, data_shape[0]):
            raise InputError(f"the codec scales {len(self.mean)} channels, and the data have {data_shape[0]}")
        return data_shape

    def encode(self, data: Tensor) -> Tensor:
        return (data - self._along(self.mean, data)) / self._along(self.deviation, data)

    def decode(self, x0: Tensor) -> Tensor:
        return x0 * self._along(self.deviation, x0) + self._along(self.mean, x0)

    def _along(self, values: Tensor, x: Tensor) -> Tensor:
        """One value a channel, broadcastable to ``x``, ``(B, C, *size)``."""
        return values.to(x).reshape(-1, *[1] * (x.ndim - 2))


def surveyed(data: Sequence[Tensor]) -> Iterator[Tensor]:
    """`SURVEYED` samples, evenly spaced."""
    return (data[row] for row in torch.linspace(0, len(data) - 1, min(SURVEYED, len(data))).int().tolist())


def _rounded(values: Tensor) -> list[float]:
    return [float(f"{value:.6g}") for value in values.tolist()]
