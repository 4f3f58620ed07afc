"""The audio artifact, and operations on it."""

import base64
import io
from dataclasses import dataclass

import numpy as np
import soundfile
import torch
from torch import Tensor

from modalities.audio.blocks import mixed, peak, resampled, resampled_blocks
from multidiff.errors import InputError


@dataclass(frozen=True, eq=False)
class AudioClip:
    """A sound. A notebook shows it as a player.

    Attributes:
        waveform: ``(C, T)``, C being 1 (mono) or 2 (stereo), float32, full scale at -1 and 1, read-only; an array that
            is read-only already is not copied.
        sample_rate: samples a second.

    Raises:
        InputError: the waveform is empty, not finite or not ``(C, T)``, or the rate is not positive.
    """

    waveform: np.ndarray
    sample_rate: int

    def __post_init__(self) -> None:
        waveform = np.asarray(self.waveform)
        if waveform.dtype != np.float32 or waveform.flags.writeable:
            waveform = np.array(waveform, dtype=np.float32)
        if waveform.ndim != 2 or not waveform.size:
            raise InputError(f"a waveform is (channels, samples), at least one of each, not {waveform.shape}")
        if self.sample_rate < 1:
            raise InputError(f"a sample rate is at least 1 Hz, not {self.sample_rate}")
        peak(waveform)
        waveform.setflags(write=False)
        object.__setattr__(self, "waveform", waveform)

    @property
    def channels(self) -> int:
        """C."""
        return len(self.waveform)

    @property
    def seconds(self) -> float:
        """The duration."""
        return self.waveform.shape[1] / self.sample_rate

    def tensor(self) -> Tensor:
        """A copy of the waveform, ``(C, T)``."""
        return torch.from_numpy(self.waveform.copy())

    def resampled(self, sample_rate: int) -> "AudioClip":
        """The sound at another rate, band-limited."""
        return AudioClip(frozen(resampled(self.waveform, self.sample_rate, sample_rate)), sample_rate)

    def with_channels(self, channels: int) -> "AudioClip":
        """The sound with ``channels`` channels: their mean for mono; a mono sound is repeated.

        Raises:
            InputError: there is no standard conversion, as from 6 channels to 2.
        """
        if channels == self.channels:
            return self
        return AudioClip(frozen(mixed(self.waveform, channels)), self.sample_rate)

    def __repr__(self) -> str:
        kind = {1: "mono", 2: "stereo"}.get(self.channels, f"{self.channels} channels")
        return f"AudioClip({self.seconds:.3f} s, {kind}, {self.sample_rate} Hz)"

    def _repr_html_(self) -> str:
        wav = io.BytesIO()
        soundfile.write(wav, np.clip(self.waveform.T, -1, 1), self.sample_rate, "PCM_16", format="WAV")
        encoded = base64.b64encode(wav.getvalue()).decode()
        return f'<audio controls src="data:audio/wav;base64,{encoded}"></audio>'


def frozen(waveform: np.ndarray) -> np.ndarray:
    """``waveform``, read-only from now on."""
    waveform.setflags(write=False)
    return waveform


def true_peak(clip: AudioClip) -> float:
    """The largest magnitude of the sound at and between its samples, by fourfold oversampling; 1 is full scale.

    ITU-R BS.1770-4, annex 2, https://www.itu.int/rec/R-REC-BS.1770.
    """
    return max(map(peak, (clip.waveform, *resampled_blocks([clip.waveform], 1, 4))))


def limited(clip: AudioClip, ceiling: float = 1.0) -> tuple[AudioClip, float]:
    """``clip``, attenuated so that its true peak is at most ``ceiling``, and the attenuation in dB."""
    highest = true_peak(clip)
    if highest <= ceiling:
        return clip, 0.0
    gain = ceiling / highest * (1 - 1e-6)  # rounding must not exceed it
    return AudioClip(clip.waveform * np.float32(gain), clip.sample_rate), float(-20 * np.log10(gain))
