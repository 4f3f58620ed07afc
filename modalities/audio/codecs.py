"""Codecs of sounds: samples, blocks of samples, and spectrograms."""

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from modalities.audio.stft import STFT, BandEnergySTFT
from modalities.audio.waveform_codec import WaveformCodec, to_multiple

__all__ = ["STFT", "BandEnergySTFT", "PatchedWaveform", "Waveform", "WaveformCodec"]


class PatchedWaveform(WaveformCodec):
    """Blocks of ``patch`` samples as channels, times ``gain``: exact. A patch of 1 is the waveform itself.

    Args:
        patch: samples a block; a model on blocks of 16 is an order of magnitude faster than one on samples.
        gain: brings quiet sounds to the unit scale of the noise.

    Raises:
        ValueError: a patch without a sample, or a gain that is not above 0.
    """

    def __init__(self, patch: int, gain: float = 1.0):
        super().__init__()
        if patch < 1 or gain <= 0:
            raise ValueError(f"a patch has at least 1 sample, and a gain is above 0, got {patch} and {gain}")
        self.width = self.hop = patch
        self.gain = gain

    def encode(self, data: Tensor) -> Tensor:
        return self.gain * rearrange(to_multiple(data, self.hop), "b c (l p) -> b (c p) l", p=self.hop)

    def decode(self, x0: Tensor) -> Tensor:
        return rearrange(x0, "b (c p) l -> b c (l p)", p=self.hop) / self.gain

    def frames(self, samples: int) -> int:
        return -(-samples // self.hop)

    def samples(self, frames: int) -> int:
        return frames * self.hop

    def touched(self, mask: Tensor) -> Tensor:
        return F.max_pool1d(mask, self.hop)


class Waveform(PatchedWaveform):
    """The samples themselves, times ``gain``: exact."""

    def __init__(self, gain: float = 1.0):
        super().__init__(1, gain)
