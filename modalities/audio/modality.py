"""Sounds: waveforms ``(C, T)`` at one rate, full scale at -1 and 1."""

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from PIL.Image import Image
from torch import Tensor

from modalities.audio.clip import AudioClip
from modalities.audio.files import SUFFIXES, check_encoding, read_clip, read_metadata, write_clip
from modalities.audio.preparation import AudioPreparation
from modalities.audio.preview import sound_sheet
from multidiff.errors import InputError
from multidiff.modality import File, Modality, Preparation, expected, path_or_open

PADDING = 0.02
"""Seconds by which clips that are compared may differ in length: codecs pad samples to whole frames."""


class AudioModality(Modality[AudioClip]):
    """Clips at ``sample_rate``, all mono or all stereo.

    Args:
        sample_rate: samples a second; sounds at another rate are resampled.
        stereo: two channels rather than one; sounds are mixed down to mono, or doubled to stereo.
        encoding: of the samples in WAV, AIFF and FLAC files that are written: "16", "24" bits or "float".
        cut: whether generated sounds end after as many seconds as their field ``seconds`` says.

    Raises:
        InputError: a rate or an encoding that does not exist.
    """

    name: ClassVar[str] = "audio"
    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES
    preparation: ClassVar[type[Preparation]] = AudioPreparation
    features: ClassVar[str | None] = "audio_encoder"
    viewer: ClassVar[str] = "player"
    for_few: ClassVar[str | None] = "long sounds, which count as several samples"
    file_settings: ClassVar[tuple[str, ...]] = ("encoding", "cut")

    def __init__(self, sample_rate: int, stereo: bool = False, encoding: str | int = "16", cut: bool = False):
        if sample_rate < 1000:
            raise InputError(f"modality.sample_rate is in Hz and at least 1000, not {sample_rate}")
        self.sample_rate = sample_rate
        self.channels = 2 if stereo else 1
        self.encoding, self.cut = check_encoding(str(encoding)), cut

    def read(self, file: File | str) -> AudioClip:
        return read_clip(path_or_open(file))

    def write(self, artifact: AudioClip, path: Path | str, metadata: Mapping[str, Any]) -> None:
        write_clip(artifact, Path(path), metadata, self.encoding)

    def metadata(self, path: Path) -> dict[str, Any]:
        return read_metadata(path)

    def converted(self, clip: AudioClip) -> AudioClip:
        """``clip`` at the rate and with the channels of this modality."""
        return expected(AudioClip, clip).with_channels(self.channels).resampled(self.sample_rate)

    def to_data(self, artifact: AudioClip) -> Tensor:
        return self.converted(artifact).tensor()

    def to_artifact(self, data: Tensor) -> AudioClip:
        return AudioClip(data.detach().cpu().float().numpy(), self.sample_rate)

    def requested(self, artifact: AudioClip, fields: Mapping[str, Any]) -> AudioClip:
        if not self.cut or fields.get("seconds") is None:
            return artifact
        return AudioClip(artifact.waveform[:, : self.samples(float(fields["seconds"]))], self.sample_rate)

    def fitted(self, artifact: AudioClip, shape: tuple[int, ...]) -> Tensor:
        """A shorter clip is padded with silence; an excess of up to a millisecond, as resampling leaves, is cut."""
        waveform, length = self.to_data(artifact), shape[-1]
        missing = length - waveform.shape[1]
        if -missing > self.sample_rate / 1000:
            raise InputError(
                f"this model generates {length / self.sample_rate:.3g} s of sound, and the clip given lasts "
                f"{artifact.seconds:.3g} s: cut it"
            )
        return F.pad(waveform, (0, missing))

    def mask(self, shape: tuple[int, ...], *region: Any) -> Tensor:
        """The time from ``start`` to ``end``, in seconds."""
        if len(region) != 2 or not all(isinstance(end, Real) for end in region):
            raise InputError(
                f"the part to regenerate is its start and end in seconds: inpaint(clip, 0.2, 0.5), got {region}"
            )
        start, end = region
        length = shape[-1]
        within = 0 <= start < end < math.inf
        first, last = (round(seconds * self.sample_rate) if within else 0 for seconds in (start, end))
        if not 0 <= first < last <= length:
            raise InputError(
                f"a span from {start} to {end} s is not within the {length / self.sample_rate:.3g} s that the model "
                "generates: give a start and a later end"
            )
        position = torch.arange(length)
        return ((first <= position) & (position < last)).expand(shape)

    def region(self, text: str) -> tuple[float, float]:
        """``START:END``, in seconds."""
        try:
            start, end = map(float, text.split(":"))
        except ValueError as error:
            raise InputError(f"a span of time is START:END in seconds, such as 0.2:0.5, not {text!r}") from error
        return start, end

    def extension(self, artifact: AudioClip, amount: float) -> tuple[Tensor, int]:
        """``amount`` is in seconds."""
        waveform = self.to_data(artifact)
        return waveform, waveform.shape[1] + self.samples(amount)

    def preview(self, artifacts: Sequence[AudioClip]) -> Image:
        return sound_sheet(artifacts)

    def describe(self, artifact: AudioClip) -> str:
        kind = {1: "mono", 2: "stereo"}.get(artifact.channels, f"{artifact.channels} channels")
        return f"{artifact.seconds:.3g} s, {kind}, {artifact.sample_rate} Hz"

    def comparable(self, artifact: AudioClip, shape: tuple[int, ...], *, foreign: bool) -> AudioClip:
        """A clip may be longer or shorter than the data by up to `PADDING` seconds; features pad or cut it."""
        own, expected = self.to_data(artifact).shape[-1] / self.sample_rate, shape[-1] / self.sample_rate
        if abs(own - expected) > PADDING:
            raise InputError(
                f"lasts {own:.4g} s and the data {expected:.4g} s: make them equal, since a cut would change scores"
            )
        return artifact

    def fidelity(self, original: Tensor, decoded: Tensor) -> dict[str, float]:
        """Scale-invariant SNR (SI-SDR), the distance of log-mel spectrograms, both in dB, and that of spectra."""
        from modalities.audio.fidelity import fidelity  # noqa: PLC0415  which needs torchaudio

        return fidelity(original, decoded, self.sample_rate)

    def settings_for(self, shape: Sequence[int]) -> dict[str, Any]:
        return {"seconds": shape[-1] / self.sample_rate}

    def samples(self, seconds: float) -> int:
        """How many samples last so long.

        Raises:
            InputError: it is less than one sample, or infinite.
        """
        if not 1 / 2 < seconds * self.sample_rate < math.inf:
            raise InputError(f"a sound lasts at least one sample, {1 / self.sample_rate:.2g} s, not {seconds} s")
        return round(seconds * self.sample_rate)
