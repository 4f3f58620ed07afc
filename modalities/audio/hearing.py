"""How clips are heard where they are compared: as mel spectrograms, and as what is left of them after a coarse look."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchaudio.transforms import MelSpectrogram

from modalities.audio.clip import AudioClip
from modalities.audio.modality import AudioModality
from multidiff.errors import InputError
from multidiff.modality import Modality

BANDS = 64
FINEST = 0.008
"""Seconds from one frame to the next in a clip of up to two seconds."""

FRAMES = 256
"""At most; those of a longer clip are further apart."""

SLOTS = 32
"""Parts of a clip's time that a look at it tells apart."""

FLOOR = 1e-8
"""Power below which nothing is heard: 80 dB below a tone of full scale."""


@dataclass(frozen=True)
class Ear:
    """Hears clips at one rate, of one length and with so many channels; a shorter one has silence after it.

    Args:
        sample_rate: Hz.
        channels: C.
        samples: of a clip.
    """

    sample_rate: int
    channels: int
    samples: int

    @classmethod
    def of(cls, modality: Modality[Any], shape: Sequence[int]) -> "Ear":
        """For the clips that tensors of ``shape`` stand for.

        Raises:
            InputError: the modality is not that of sounds.
        """
        if not isinstance(modality, AudioModality):
            raise InputError(f"these features are of sounds, and the data are of the modality {modality.name}")
        return cls(modality.sample_rate, modality.sides, modality.frontend.samples(shape[-1]))

    def waveforms(self, clips: Sequence[AudioClip]) -> Tensor:
        """``(B, C, T)``."""
        return torch.stack([self._fitted(clip) for clip in clips])

    def _fitted(self, clip: AudioClip) -> Tensor:
        wave = clip.with_channels(self.channels).resampled(self.sample_rate).tensor()[:, : self.samples]
        return F.pad(wave, (0, self.samples - wave.shape[1]))

    def power(self, clips: Sequence[AudioClip]) -> Tensor:
        """The mel power spectrograms, ``(B, C, BANDS, L)``; a tone of full scale has a power of about 1."""
        return self._mel(self.waveforms(clips)) * (4 / self._window**2)

    def looks(self, power: Tensor) -> Tensor:
        """Spectrograms ``(B, C, BANDS, L)`` as ``(B, E)``, whose Euclidean distances are differences in dB.

        Over bands and `SLOTS` in time, root mean square.
        """
        coarse = F.adaptive_avg_pool2d(decibels(power), (BANDS, SLOTS)).flatten(1)
        return coarse / math.sqrt(coarse.shape[1])

    def __str__(self) -> str:
        sides = {1: "mono", 2: "stereo"}[self.channels]
        return f"{sides} at {self.sample_rate} Hz, {self.samples / self.sample_rate:.4g} s"

    @property
    def _hop(self) -> int:
        return max(round(FINEST * self.sample_rate), math.ceil(self.samples / FRAMES))

    @cached_property
    def _mel(self) -> MelSpectrogram:
        size = 2 ** math.ceil(math.log2(4 * self._hop))
        return MelSpectrogram(
            self.sample_rate, size, hop_length=self._hop, n_mels=BANDS, f_min=20.0, pad_mode="constant"
        )

    @property
    def _window(self) -> float:
        """What a constant of 1 sums to under the window."""
        return float(self._mel.spectrogram.window.sum())


def decibels(power: Tensor) -> Tensor:
    """Powers as levels from -80, the `FLOOR`, to about 0 dB."""
    return 10 * torch.log10(power + FLOOR)
