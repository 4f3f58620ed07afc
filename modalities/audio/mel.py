"""Log-mel spectrograms, by which clips are compared."""

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
"""Frames at most; those of a longer clip are further apart."""

SLOTS = 32
"""Time slots of a fingerprint."""

FLOOR = 1e-8
"""Power that counts as silence: 80 dB below a tone of full scale."""


@dataclass(frozen=True)
class MelSpectrograms:
    """Mel spectrograms of clips at one rate and of one length; a shorter clip has silence after it.

    Args:
        sample_rate: Hz.
        channels: C.
        samples: of a clip.
    """

    sample_rate: int
    channels: int
    samples: int

    @classmethod
    def of(cls, modality: Modality[Any], shape: Sequence[int]) -> "MelSpectrograms":
        """For clips of the data ``shape``.

        Raises:
            InputError: the modality is not that of sounds.
        """
        if not isinstance(modality, AudioModality):
            raise InputError(f"these features are of sounds, and the data are of the modality {modality.name}")
        channels, samples = shape
        return cls(modality.sample_rate, channels, samples)

    def waveforms(self, clips: Sequence[AudioClip]) -> Tensor:
        """``(B, C, T)``."""
        return torch.stack([self._fitted(clip) for clip in clips])

    def _fitted(self, clip: AudioClip) -> Tensor:
        wave = clip.with_channels(self.channels).resampled(self.sample_rate).tensor()[:, : self.samples]
        return F.pad(wave, (0, self.samples - wave.shape[1]))

    def power(self, clips: Sequence[AudioClip]) -> Tensor:
        """The mel power spectrograms, ``(B, C, BANDS, L)``; a tone of full scale has a power of about 1."""
        return self.of_waveforms(self.waveforms(clips))

    def of_waveforms(self, waveforms: Tensor) -> Tensor:
        """The same of waveforms ``(B, C, T)``."""
        return self._mel(waveforms) * (4 / self._window**2)

    def fingerprints(self, power: Tensor) -> Tensor:
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
        """Sum of the window."""
        return float(self._mel.spectrogram.window.sum())


def decibels(power: Tensor) -> Tensor:
    """Power in dB, from -80, the `FLOOR`, to about 0."""
    return 10 * torch.log10(power + FLOOR)
