"""Sound files through libsndfile, with metadata in their tags."""

import io
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import soundfile

from modalities.audio.blocks import LARGEST, gathered, peak
from modalities.audio.clip import AudioClip, limited
from multidiff.data.files import new_file
from multidiff.errors import InputError
from multidiff.modality import File, name_of

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif")
Encoding = Literal["16", "24", "float"]
"""Sample format in WAV, AIFF and FLAC: 16 or 24 bits, or 32-bit floats (24 bits in FLAC, which has no floats)."""

_FORMATS = {".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG", ".mp3": "MP3", ".aiff": "AIFF", ".aif": "AIFF"}
_SUBTYPES: dict[str, str] = {"16": "PCM_16", "24": "PCM_24", "float": "FLOAT"}
_LOSSY_CEILING = 10 ** (-1 / 20)
"""A lossy decoder overshoots the encoded peak: -1 dB, as EBU R 128 s1 recommends."""

_METADATA_KEY = "multidiff"

WHOLE = 2**28
"""Samples of all channels of a sound that is read as a whole, at most: 1 GB, 50 minutes of stereo at 44.1 kHz."""

_BLOCK = 2**20
"""Samples that are read at a time."""

_UNKNOWN_FRAMES = 2**62
"""libsndfile counts more than this many samples in a FLAC whose header does not state their number."""

_STREAMED = 0x7FFFF000
"""From this size on, sox, arecord and others state the size of a WAV that they wrote into a pipe."""

log = logging.getLogger(__name__)


class Sound:
    """A sound file that is open, and read block by block.

    Attributes:
        sample_rate: samples a second.
        channels: of its blocks.
        comment: in its tags.
        seconds: length of what has been read.
        peak: largest magnitude of what has been read.
        low: least value of each channel in what has been read.
        high: largest value of each channel in what has been read.
    """

    def __init__(self, file: soundfile.SoundFile):
        self._file, self._read = file, 0
        self.sample_rate, self.channels, self.comment = file.samplerate, file.channels, file.comment
        self.peak = 0.0
        self.low, self.high = np.full(self.channels, np.inf), np.full(self.channels, -np.inf)

    @property
    def seconds(self) -> float:
        return self._read / self.sample_rate

    def blocks(self) -> Iterator[np.ndarray]:
        """The samples that are there, ``(C, T)`` in float32, whatever number the header claims.

        Raises:
            InputError: they are none, too many, fewer than the header claims, or not finite.
        """
        count = max(1, _BLOCK // self.channels)
        while len(block := self._file.read(count, dtype="float32", always_2d=True)):
            self._read += len(block)
            if self._read * self.channels > LARGEST:
                raise InputError(f"more than {LARGEST} samples; split it into shorter files")
            self.peak = max(self.peak, peak(block))
            self.low, self.high = np.minimum(self.low, block.min(axis=0)), np.maximum(self.high, block.max(axis=0))
            yield block.T
        if self._read < self._file.frames < _UNKNOWN_FRAMES:
            raise InputError(f"truncated, {self._read} of {self._file.frames} samples are there")
        if not self._read:
            raise InputError("holds no samples")


@contextmanager
def open_sound(file: File) -> Iterator[Sound]:
    """A WAV, FLAC, Ogg Vorbis, MP3 or AIFF file, opened.

    Raises:
        InputError: naming the file, if it is missing, truncated or not a sound, or for what is wrong with its samples.
    """
    name = name_of(file)
    try:
        if missing := _missing_bytes(file):
            raise InputError(f"truncated, its last {missing} bytes are missing; copy it again from its source")
        with _Sequential(file) as sound:
            yield Sound(sound)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    except (OSError, ValueError, soundfile.SoundFileError) as error:
        raise InputError(f"{name}: {_reason(error)}") from error


def read_clip(file: File) -> AudioClip:
    """The sound in a WAV, FLAC, Ogg Vorbis, MP3 or AIFF file, at its own rate and with its own channels.

    Raises:
        InputError: naming the file, if it is missing, truncated, not a sound, empty, of more than `WHOLE` samples, or
            holds NaN.
    """
    with open_sound(file) as sound:
        return AudioClip(gathered(sound.blocks(), WHOLE), sound.sample_rate)


def write_clip(clip: AudioClip, path: Path, metadata: Mapping[str, Any], encoding: Encoding = "16") -> None:
    """Write ``clip`` atomically, in the format of the suffix of ``path``.

    It is never clipped: a clip whose true peak exceeds full scale (1 dB below, in lossy formats) is attenuated as a
    whole, with a warning. ``metadata`` is written as JSON into the comment tag.

    Raises:
        InputError: the suffix or the encoding is unknown, or the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"cannot write a sound to {path}: its suffix is not one of {' '.join(SUFFIXES)}")
    kept, lowered = limited(clip, _LOSSY_CEILING if suffix in (".ogg", ".mp3") else 1.0)
    if lowered:
        log.warning("%s: attenuated by %.2g dB to avoid clipping", path.name, lowered)
    settings = clip.sample_rate, clip.channels, _subtype(suffix, encoding)
    encoded = io.BytesIO()
    try:
        with soundfile.SoundFile(encoded, "w", *settings, format=_FORMATS[suffix]) as file:
            file.comment = json.dumps({_METADATA_KEY: dict(metadata)})
            file.write(kept.waveform.T)
    except soundfile.SoundFileError as error:
        raise InputError(f"cannot write {path}: {_reason(error)}") from error
    with new_file(path) as part:
        part.write_bytes(encoded.getbuffer())


def read_metadata(path: Path) -> dict[str, Any]:
    """The metadata that `write_clip` was given; empty for the files of other programs.

    Raises:
        InputError: naming the file, if it cannot be read.
    """
    with open_sound(path) as sound:
        comment = sound.comment
    try:
        return json.loads(comment)[_METADATA_KEY]
    except (TypeError, ValueError, LookupError, RecursionError):
        return {}


def check_encoding(encoding: str) -> Encoding:
    """``encoding``, if it is one.

    Raises:
        InputError: it is not.
    """
    if encoding not in get_args(Encoding):
        raise InputError(f"modality.encoding is one of {', '.join(get_args(Encoding))}, not {encoding}")
    return encoding  # type: ignore[return-value]


def _subtype(suffix: str, encoding: Encoding) -> str | None:
    if suffix in (".ogg", ".mp3"):
        return None  # the default of the format
    return "PCM_24" if suffix == ".flac" and encoding == "float" else _SUBTYPES[encoding]


class _Sequential(soundfile.SoundFile):
    """Read from start to end without seeking, which fails in a FLAC whose header does not state its length."""

    def seekable(self) -> bool:
        return False


def _missing_bytes(file: File) -> int:
    """Number of bytes that a WAV or AIFF file lacks by its header, which libsndfile ignores."""
    with file.open("rb") if isinstance(file, Path) else nullcontext(file) as content:
        content.seek(0)
        head, size = content.read(8), content.seek(0, io.SEEK_END)
        content.seek(0)
    if len(head) < 8 or head[:4] not in (b"RIFF", b"FORM"):
        return 0
    stated = int.from_bytes(head[4:], "little" if head[:4] == b"RIFF" else "big")
    streamed = stated == 0 or stated >= _STREAMED  # the length was unknown to the writer
    return 0 if streamed else max(0, stated + 8 - size)


def _reason(error: Exception) -> str:
    """The reason in one line."""
    if isinstance(error, OSError):
        return error.strerror or "cannot be read"
    text = str(getattr(error, "error_string", error))
    return f"not a sound, or damaged ({' '.join(text.split()).rstrip('.')})"
