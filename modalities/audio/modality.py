"""Sounds: waveforms at one rate, seen by models through a frontend."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from PIL.Image import Image
from torch import Tensor

from modalities.audio.clip import AudioClip
from modalities.audio.files import SUFFIXES, check_encoding, read_clip, write_clip
from modalities.audio.frontends import Frontend
from modalities.audio.preview import sound_sheet
from multidiff.errors import InputError
from multidiff.modality import Modality


class AudioModality(Modality[AudioClip]):
    """Clips at ``sample_rate``, all mono or all stereo.

    Args:
        sample_rate: samples a second; sounds at another rate are resampled.
        stereo: two channels rather than one; sounds are mixed down, or doubled.
        frontend: how models see a waveform.
        encoding: of the samples in WAV, AIFF and FLAC files that are written: "16", "24" bits or "float".

    Raises:
        InputError: a rate or an encoding that there is not.
    """

    name: ClassVar[str] = "audio"
    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES
    features: ClassVar[str | None] = "audio_encoder"

    def __init__(self, sample_rate: int, frontend: Frontend, stereo: bool = False, encoding: str | int = "16"):
        if sample_rate < 1000:
            raise InputError(f"modality.sample_rate is in Hz and at least 1000, not {sample_rate}")
        self.sample_rate = sample_rate
        self.sides = 2 if stereo else 1
        self.frontend = frontend
        self.encoding = check_encoding(str(encoding))
        self.channels = self.sides * frontend.width
        self.edge, self.period = frontend.edge, frontend.period

    def read(self, path: Path) -> AudioClip:
        return read_clip(path)

    def write(self, artifact: AudioClip, path: Path, metadata: Mapping[str, Any]) -> None:
        write_clip(artifact, path, metadata, self.encoding)

    def fitted(self, clip: AudioClip) -> AudioClip:
        """``clip`` at the rate and with the channels of this modality."""
        return clip.with_channels(self.sides).resampled(self.sample_rate)

    def to_tensor(self, artifact: AudioClip) -> Tensor:
        return self.frontend.encode(self.fitted(artifact).tensor())

    def to_artifact(self, x: Tensor) -> AudioClip:
        return AudioClip(self.frontend.decode(x.detach().cpu().float()).numpy(), self.sample_rate)

    def sized(self, artifact: AudioClip, shape: tuple[int, ...]) -> Tensor:
        """A shorter clip has silence after it; a millisecond too much, which resampling may add, is cut."""
        waveform, length = self.fitted(artifact).tensor(), self.frontend.samples(shape[-1])
        missing = length - waveform.shape[1]
        if -missing > self.sample_rate / 1000:
            raise InputError(
                f"this model makes {length / self.sample_rate:.3g} s of sound, and the clip given lasts "
                f"{artifact.seconds:.3g} s: cut it"
            )
        return self.frontend.encode(F.pad(waveform, (0, missing)))

    def mask(self, shape: tuple[int, ...], *region: Any) -> Tensor:
        """The frames that see any of the time from ``start`` to ``end``, in seconds."""
        start, end = region
        length = self.frontend.samples(shape[-1])
        within = 0 <= start < end < math.inf
        first, last = (round(seconds * self.sample_rate) if within else 0 for seconds in (start, end))
        if not 0 <= first < last <= length:
            raise InputError(
                f"a span from {start} to {end} s is not within the {length / self.sample_rate:.3g} s that the model "
                "makes: give a start and a later end"
            )
        touched = torch.zeros(shape, dtype=torch.bool)
        frames = self.frontend.touching(first, last)
        touched[:, frames.start : frames.stop] = True
        return touched

    def region(self, text: str) -> tuple[float, float]:
        """``START:END``, in seconds."""
        try:
            start, end = map(float, text.split(":"))
        except ValueError as error:
            raise InputError(f"a span of time is START:END in seconds, such as 0.2:0.5, not {text!r}") from error
        return start, end

    def extension(self, artifact: AudioClip, amount: float) -> tuple[Tensor, int]:
        """The frames that see nothing beyond the end of the clip; ``amount`` is in seconds."""
        waveform = self.fitted(artifact).tensor()
        length = waveform.shape[1] + self.samples(amount)
        known = self.frontend.encode(waveform)[:, : self.frontend.touching(waveform.shape[1], length).start]
        if not known.shape[1]:
            raise InputError(f"a clip of {artifact.seconds:.3g} s is too short to go on from")
        return known, self.frontend.frames(length)

    def preview(self, artifacts: Sequence[AudioClip]) -> Image:
        return sound_sheet(artifacts)

    def folder(self, root: Path, shape: Sequence[int]) -> dict[str, Any]:
        seconds = self.frontend.samples(shape[-1]) / self.sample_rate
        return {"_target_": "modalities.audio.data.AudioFolder", "root": str(root), "seconds": seconds}

    def shape(self, samples: int) -> tuple[int, int]:
        """Of the tensor of a clip of so many samples."""
        return self.channels, self.frontend.frames(samples)

    def samples(self, seconds: float) -> int:
        """How many samples last so long.

        Raises:
            InputError: it is no time at all, or no end of it.
        """
        if not 1 / 2 < seconds * self.sample_rate < math.inf:
            raise InputError(f"a sound lasts at least one sample, {1 / self.sample_rate:.2g} s, not {seconds} s")
        return round(seconds * self.sample_rate)
