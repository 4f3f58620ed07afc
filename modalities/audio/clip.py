"""The audio artifact, and operations on it."""

import base64
import io
import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor
from torchaudio.transforms import Resample

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
        if not math.isfinite(peak(waveform)):
            raise InputError("there are non-finite samples (NaN or infinity)")
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
        if channels == 1:
            return AudioClip(frozen(self.waveform.mean(axis=0, keepdims=True)), self.sample_rate)
        if self.channels == 1:
            return AudioClip(np.broadcast_to(self.waveform, (channels, self.waveform.shape[1])), self.sample_rate)
        raise InputError(f"{self.channels} channels do not become {channels}: mix them down to 1 or 2 first")

    def __repr__(self) -> str:
        kind = {1: "mono", 2: "stereo"}.get(self.channels, f"{self.channels} channels")
        return f"AudioClip({self.seconds:.3f} s, {kind}, {self.sample_rate} Hz)"

    def _repr_html_(self) -> str:
        wav = io.BytesIO()
        soundfile.write(wav, np.clip(self.waveform.T, -1, 1), self.sample_rate, "PCM_16", format="WAV")
        encoded = base64.b64encode(wav.getvalue()).decode()
        return f'<audio controls src="data:audio/wav;base64,{encoded}"></audio>'


def resampled(waveform: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """``waveform``, ``(C, T)``, at another rate: ``(C, ceil(T new / old))``.

    By torchaudio's windowed sinc; where the rates have a small common divisor, its kernel would be large, and soxr's
    variable-rate filter takes its place.
    """
    if rate == new_rate:
        return waveform
    length = -(-waveform.shape[-1] * new_rate // rate)
    if length * len(waveform) > LARGEST:
        raise InputError(f"{waveform.shape[-1]} samples at {rate} Hz are {length} at {new_rate} Hz: too many")
    if max(rate, new_rate) // math.gcd(rate, new_rate) <= _LARGEST_TERM:
        return _in_blocks(waveform, rate, new_rate, length)
    found = soxr.resample(waveform.T, rate, new_rate, "VHQ").astype(np.float32, copy=False).T
    return np.pad(found, ((0, 0), (0, max(0, length - found.shape[-1]))))[:, :length]


def _in_blocks(waveform: np.ndarray, rate: int, new_rate: int, length: int) -> np.ndarray:
    """Torchaudio's resampler, which takes several times the memory of what it is given, on one block after another."""
    resampler, divisor = _resampler(rate, new_rate), math.gcd(rate, new_rate)
    old, new = rate // divisor, new_rate // divisor
    margin, size = -(-resampler.width // old), max(1, BLOCK // max(old, new))  # in periods of both rates
    found = np.empty((len(waveform), length), np.float32)
    for start in range(0, -(-waveform.shape[1] // old), size):
        first, stop = max(0, start - margin), start + size
        block = resampler(torch.tensor(waveform[:, first * old : (stop + margin) * old])).numpy()
        place = found[:, start * new : stop * new]
        place[:] = block[:, (start - first) * new :][:, : place.shape[1]]
    return found


def frozen(waveform: np.ndarray) -> np.ndarray:
    """``waveform``, read-only from now on."""
    waveform.setflags(write=False)
    return waveform


def peak(waveform: np.ndarray) -> float:
    """The largest magnitude in ``waveform``; not finite if a sample is not."""
    return float(max(waveform.max(), -waveform.min()))


LARGEST = 2**30
"""Samples of all channels of a sound, at most: 4 GB in memory."""

BLOCK = 2**22
"""Samples of a channel that are processed at a time."""

_LARGEST_TERM = 2000
"""Largest term of a reduced ratio of rates that torchaudio's resampler is used for."""


@cache
def _resampler(rate: int, new_rate: int) -> Resample:
    return Resample(rate, new_rate, lowpass_filter_width=32)


def true_peak(clip: AudioClip) -> float:
    """The largest magnitude of the sound at and between its samples, by fourfold oversampling; 1 is full scale.

    ITU-R BS.1770-4, annex 2, https://www.itu.int/rec/R-REC-BS.1770.
    """
    return max(peak(resampled(clip.waveform, 1, 4)), peak(clip.waveform))


def limited(clip: AudioClip, ceiling: float = 1.0) -> tuple[AudioClip, float]:
    """``clip``, attenuated so that its true peak is at most ``ceiling``, and the attenuation in dB."""
    highest = true_peak(clip)
    if highest <= ceiling:
        return clip, 0.0
    gain = ceiling / highest * (1 - 1e-6)  # rounding must not exceed it
    return AudioClip(clip.waveform * np.float32(gain), clip.sample_rate), float(-20 * np.log10(gain))
