"""Sounds: waveforms at one rate, seen by models through a frontend."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

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

    def __init__(self, sample_rate: int, frontend: Frontend, stereo: bool = False, encoding: str | int = "16"):
        if sample_rate < 1000:
            raise InputError(f"modality.sample_rate is in Hz and at least 1000, not {sample_rate}")
        self.sample_rate = sample_rate
        self.sides = 2 if stereo else 1
        self.frontend = frontend
        self.encoding = check_encoding(str(encoding))
        self.channels = self.sides * frontend.width

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

    def preview(self, artifacts: Sequence[AudioClip]) -> Image:
        return sound_sheet(artifacts)

    def shape(self, samples: int) -> tuple[int, int]:
        """Of the tensor of a clip of so many samples."""
        return self.channels, self.frontend.frames(samples)

    def samples(self, seconds: float) -> int:
        """How many samples last so long.

        Raises:
            InputError: it is no time at all.
        """
        count = round(seconds * self.sample_rate)
        if count < 1:
            raise InputError(f"a sound lasts at least one sample, {1 / self.sample_rate:.2g} s, not {seconds} s")
        return count
