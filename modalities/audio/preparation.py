"""Sound files as training samples: converted once, cropped at random each time."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from modalities.audio.blocks import BLOCK, LARGEST, gathered, mixed, peak, resampled_blocks
from modalities.audio.files import SUFFIXES, open_sound
from modalities.audio.loudness import SILENCE, gain_to, is_silent
from multidiff.errors import InputError
from multidiff.modality import File, Preparation, name_of

if TYPE_CHECKING:
    from modalities.audio.modality import AudioModality

TRIES = 8
"""Random crops of a long sound that are tried until one is not silent."""

SHORT = 0.25
"""Part of a clip; a shorter sound leaves most of it silent."""

HELD = 0.9
"""Share of the sounds that fit completely into the advised length."""


class AudioPreparation(Preparation):
    """Converts sounds to the rate, channels and loudness of the training, and crops clips of one length.

    A sound counts as as many samples as clips fit into it, each a random crop. A silent crop is replaced by another, up
    to `TRIES` times, and then by one around the loudest sample. A shorter sound is padded with silence.

    Args:
        modality: of the sounds.
        seconds: length of the clips.
        loudness: LUFS that every file is brought to; None leaves them as they are, except that one that exceeds full
            scale is turned down as a whole.
        min_seconds: shorter files count as unreadable.

    Raises:
        InputError: a setting that cannot be used.
    """

    suffixes = SUFFIXES

    def __init__(
        self,
        modality: "AudioModality",
        seconds: float,
        loudness: float | None = -18.0,
        min_seconds: float = 0.05,
    ):
        self.modality, self.loudness, self.min_seconds = modality, loudness, min_seconds
        self.length = modality.samples(seconds)
        self.shape = (modality.channels, self.length)
        self.settings: dict[str, Any] = {
            "kind": "audio",
            "format": 2,
            "sample_rate": modality.sample_rate,
            "channels": modality.channels,
            "min_seconds": min_seconds,
            "loudness": loudness,
        }

    def prepare(self, file: File) -> np.ndarray:
        """16 bits ``(C, T)``; the file is converted block by block while it is read."""
        name, rate, channels = name_of(file), self.modality.sample_rate, self.modality.channels
        with open_sound(file) as sound:
            blocks = (mixed(block, channels) for block in sound.blocks())
            waveform = gathered(resampled_blocks(blocks, sound.sample_rate, rate), LARGEST)
        if sound.seconds < self.min_seconds:
            raise InputError(f"{name}: lasts {sound.seconds:.3g} s, shorter than data.min_seconds={self.min_seconds}")
        if sound.peak < SILENCE:
            raise InputError(f"{name}: silent")
        if (sound.high - sound.low).max() < SILENCE:
            raise InputError(f"{name}: silent, at a constant level of {sound.high.max():.2g}")
        if is_silent(waveform):
            raise InputError(f"{name}: silent at {rate} Hz and {channels} channels")
        if sound.sample_rate != rate:
            self.noted.append(f"from {sound.sample_rate} to {rate} Hz")
        if sound.channels != channels:
            self.noted.append(f"from {sound.channels} to {channels} channels")
        return sixteen_bits(waveform, self._gain(waveform))

    def _gain(self, waveform: np.ndarray) -> float:
        """What the file is multiplied with: it is never clipped."""
        if self.loudness is not None:
            return gain_to(waveform, self.modality.sample_rate, self.loudness)
        highest = peak(waveform)
        if highest > 1:
            self.noted.append("to a lower level, to avoid clipping")
        return 1 / max(1.0, highest)

    def sample(self, prepared: np.ndarray, random: np.random.Generator) -> Tensor:
        return torch.from_numpy(full_scale(sounding_piece(prepared, self.length, random)))

    def samples_in(self, shape: Sequence[int]) -> int:
        return max(1, int(shape[1]) // self.length)

    def fields(self, shape: Sequence[int]) -> dict[str, Any]:
        """The duration of the sound in a clip, in seconds."""
        return {"seconds": min(int(shape[1]), self.length) / self.modality.sample_rate}

    def problems(self, shapes: np.ndarray) -> Iterator[str]:
        """Most sounds are so short that clips are mostly silence."""
        lengths, rate = shapes[:, 1], self.modality.sample_rate
        short = int((lengths < SHORT * self.length).sum())
        hundredths = -(-100 * int(np.quantile(lengths, HELD, method="lower")) // rate)
        if 2 * short > len(lengths) and hundredths * rate < 100 * self.length:
            yield (
                f"{short:,} of {len(lengths):,} sounds are shorter than a quarter of the {self.length / rate:g} s of a "
                f"clip, and the rest is silence: set data.seconds={hundredths / 100:g}"
            )

    def remarks(self) -> Iterator[str]:
        if self.noted:
            yield "files converted: " + ", ".join(f"{n} {how}" for how, n in sorted(Counter(self.noted).items()))


def sounding_piece(sound: np.ndarray, length: int, random: np.random.Generator) -> np.ndarray:
    """A random crop of ``sound``, 16 bits ``(C, T)``, that is not silent; a shorter sound is padded with silence."""
    missing = length - sound.shape[1]
    if missing >= 0:
        return np.pad(sound, ((0, 0), (0, missing)))
    for _ in range(TRIES):
        start = int(random.integers(1 - missing))
        piece = sound[:, start : start + length]
        if not is_silent(full_scale(piece)):
            return piece
    loudest = int(np.abs(sound).max(axis=0).argmax())
    start = min(max(0, loudest - length // 2), -missing)
    return sound[:, start : start + length]


def sixteen_bits(waveform: np.ndarray, gain: float = 1.0) -> np.ndarray:
    """``gain`` times ``waveform``, ``(C, T)``, with full scale at -1 and 1 as int16."""
    samples = np.empty(waveform.shape, np.int16)
    for start in range(0, waveform.shape[1], BLOCK):
        block = waveform[:, start : start + BLOCK] * np.float32(gain)
        samples[:, start : start + BLOCK] = (np.clip(block, -1, 1) * 32767).round()
    return samples


def full_scale(samples: np.ndarray) -> np.ndarray:
    """The inverse of `sixteen_bits`, float32."""
    return samples.astype(np.float32) / np.float32(32767)
