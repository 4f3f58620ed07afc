"""What codecs of sounds share: from samples to frames and back."""

from abc import abstractmethod

import torch
import torch.nn.functional as F
from einops import repeat
from torch import Tensor

from multidiff.codecs import Codec
from multidiff.codecs.base import Shape


class WaveformCodec(Codec):
    """An invertible map from waveforms ``(B, C, T)`` to frames ``(B, C * width, frames)``.

    ``decode(encode(x))`` is x, with silence after it until its length is a multiple of ``hop``.

    Attributes:
        width: channels of a frame for each channel of the sound.
        hop: samples from one frame to the next.
    """

    width: int
    hop: int

    @abstractmethod
    def frames(self, samples: int) -> int:
        """Number of frames of a sound with ``samples`` samples."""

    @abstractmethod
    def samples(self, frames: int) -> int:
        """Number of samples to which ``frames`` frames decode."""

    @abstractmethod
    def touched(self, mask: Tensor) -> Tensor:
        """The frames that depend on masked samples: ``(1, T)`` to ``(1, frames)``, floats that are 0 or 1."""

    def shape(self, data_shape: Shape) -> Shape:
        channels, samples = data_shape
        return channels * self.width, self.frames(samples)

    def data_shape(self, shape: Shape) -> Shape:
        channels, frames = shape
        return channels // self.width, self.samples(frames)

    def region(self, mask: Tensor) -> Tensor:
        any_channel = to_multiple(mask.any(dim=0, keepdim=True).float(), self.hop)
        return repeat(self.touched(any_channel).bool(), "1 l -> c l", c=len(mask) * self.width)


def at_least_single(x: Tensor) -> Tensor:
    """``x`` in float32 if its precision is lower, as Fourier transforms need."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def to_multiple(waveform: Tensor, multiple: int) -> Tensor:
    """``waveform`` with zeros after it, up to a multiple of ``multiple`` samples."""
    return F.pad(waveform, (0, -waveform.shape[-1] % multiple))
