"""Sound files, through libsndfile: read at any rate, write with the story of their making in the tags."""

import io
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import soundfile

from modalities.audio.clip import AudioClip, limited
from multidiff.data.files import atomic_path
from multidiff.data.named_bytes import NamedBytes
from multidiff.errors import InputError

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif")
Encoding = Literal["16", "24", "float"]
"""How WAV, AIFF and FLAC keep a sample: 16 or 24 bits, or 32-bit floats (24 bits in FLAC, which has none)."""

_FORMATS = {".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG", ".mp3": "MP3", ".aiff": "AIFF", ".aif": "AIFF"}
_SUBTYPES: dict[str, str] = {"16": "PCM_16", "24": "PCM_24", "float": "FLOAT"}
_LOSSY_CEILING = 10 ** (-1 / 20)
"""A lossy decoder overshoots what was encoded: -1 dB, as EBU R 128 s1 recommends."""

_METADATA_KEY = "multidiff"

log = logging.getLogger(__name__)


def read_clip(path: Path | NamedBytes) -> AudioClip:
    """The sound in a WAV, FLAC, Ogg Vorbis, MP3 or AIFF file, at its own rate and with its own channels.

    Raises:
        InputError: naming the file, if it is missing, truncated, not a sound, empty, or holds NaN.
    """
    waveform, sample_rate, _ = _opened(path)
    try:
        return AudioClip(waveform, sample_rate)
    except InputError as error:
        raise InputError(f"{path}: {error if waveform.size else 'holds no samples'}") from None


def write_clip(clip: AudioClip, path: Path, metadata: Mapping[str, Any], encoding: Encoding = "16") -> None:
    """Write ``clip`` in the format of the suffix of ``path``, all at once or not at all.

    It is never clipped: where its true peak is above full scale (1 dB below, in lossy formats), the whole clip is
    turned down to it, which a warning says. ``metadata`` goes in as JSON, as the comment among the tags.

    Raises:
        InputError: the suffix or the encoding is unknown, or the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"cannot write a sound to {path}: its suffix is not one of {' '.join(SUFFIXES)}")
    kept, lowered = limited(clip, _LOSSY_CEILING if suffix in (".ogg", ".mp3") else 1.0)
    if lowered:
        log.warning("%s: turned down by %.2g dB, so that its true peak is not clipped", path.name, lowered)
    try:
        with (
            atomic_path(path) as part,
            soundfile.SoundFile(
                part, "w", clip.sample_rate, clip.channels, _subtype(suffix, encoding), format=_FORMATS[suffix]
            ) as file,
        ):
            file.comment = json.dumps({_METADATA_KEY: dict(metadata)})
            file.write(kept.waveform.T)
    except (OSError, soundfile.SoundFileError) as error:
        raise InputError(f"cannot write {path}: {_reason(error)}") from error


def read_metadata(path: Path) -> dict[str, Any]:
    """What `write_clip` was given as metadata; empty for the files of others.

    Raises:
        InputError: naming the file, if it cannot be read.
    """
    _, _, comment = _opened(path)
    try:
        return json.loads(comment)[_METADATA_KEY]
    except (TypeError, ValueError, LookupError):
        return {}


def check_encoding(encoding: str) -> Encoding:
    """``encoding`` itself.

    Raises:
        InputError: it is none.
    """
    if encoding not in get_args(Encoding):
        raise InputError(f"modality.encoding is one of {', '.join(get_args(Encoding))}, not {encoding}")
    return encoding  # type: ignore[return-value]


def _subtype(suffix: str, encoding: Encoding) -> str | None:
    if suffix in (".ogg", ".mp3"):
        return None  # the one that the format has
    return "PCM_24" if suffix == ".flac" and encoding == "float" else _SUBTYPES[encoding]


def _opened(path: Path | NamedBytes) -> tuple[np.ndarray, int, str]:
    """Samples ``(C, T)``, rate and comment of a file; whatever goes wrong becomes an `InputError` that names it."""
    try:
        if missing := _missing_bytes(path):
            raise InputError(f"{path}: truncated, its last {missing} bytes are missing; copy it again from its source")
        with soundfile.SoundFile(path) as file:
            samples = file.read(dtype="float32", always_2d=True)
            if len(samples) < file.frames:
                raise InputError(f"{path}: truncated, {len(samples)} of {file.frames} samples are there")
            return np.ascontiguousarray(samples.T), file.samplerate, file.comment
    except (OSError, soundfile.SoundFileError) as error:
        raise InputError(f"{path}: {_reason(error)}") from error


def _missing_bytes(path: Path | NamedBytes) -> int:
    """By how much a WAV or AIFF file is shorter than its header says, which libsndfile makes nothing of."""
    with path.open("rb") if isinstance(path, Path) else NamedBytes(path.getvalue(), path.name) as file:
        head, size = file.read(8), file.seek(0, io.SEEK_END)
    if len(head) < 8 or head[:4] not in (b"RIFF", b"FORM"):
        return 0
    stated = int.from_bytes(head[4:], "little" if head[:4] == b"RIFF" else "big")
    streamed = stated in (0, 2**32 - 1)  # the writer did not know the length
    return 0 if streamed else max(0, stated + 8 - size)


def _reason(error: Exception) -> str:
    """One line that says what went wrong."""
    if isinstance(error, OSError):
        return error.strerror or "cannot be read"
    text = str(getattr(error, "error_string", error))
    return f"not a sound, or damaged ({' '.join(text.split()).rstrip('.')})"
