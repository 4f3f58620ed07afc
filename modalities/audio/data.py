"""Sounds as training data: the built-in drums, and folders of files, decoded once into the cache."""

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from modalities.audio.clip import AudioClip
from modalities.audio.drums import DRUMS, SAMPLE_RATE, hit
from modalities.audio.files import read_clip
from modalities.audio.loudness import at_loudness, is_silent
from modalities.audio.modality import AudioModality
from multidiff.data.cache import Store, decoded
from multidiff.data.dataset import Dataset
from multidiff.data.folder import captions_of, class_indices, find_entries, path_of
from multidiff.data.named_bytes import NamedBytes
from multidiff.errors import InputError

TRIES = 8
"""Places in a long sound that are tried for one where it is not silent."""

log = logging.getLogger(__name__)


class Drums(Dataset):
    """The built-in drum machine, see `modalities.audio.drums`: as many hits of each drum, with captions.

    Args:
        modality: drums are made at 16 kHz in mono, and converted if it is another.
        count: how many hits.
        seconds: their length.
        seed: of parameters and noise. Hit i of a seed is the same, however many there are.
    """

    def __init__(self, modality: AudioModality, count: int = 4000, seconds: float = 1.0, seed: int = 0):
        if count < 1:
            raise InputError(f"data.count is the number of drum hits, at least 1, not {count}")
        self.modality = modality
        self.label_names = tuple(DRUMS)
        self.labels = [i % len(DRUMS) for i in range(count)]
        self.shape = modality.shape(modality.samples(seconds))
        hits = [hit(self.label_names[k], np.random.default_rng([seed, i]), seconds) for i, k in enumerate(self.labels)]
        self.captions = [hit.caption for hit in hits]
        self.waveforms = sixteen_bits(np.stack([hit.waveform for hit in hits]))
        self.origin = hashlib.sha256(self.waveforms.tobytes()).hexdigest()

    def __len__(self) -> int:
        return len(self.waveforms)

    def x0(self, index: int, random: np.random.Generator) -> Tensor:
        x = self.modality.to_tensor(AudioClip(full_scale(self.waveforms[index][None]), SAMPLE_RATE))
        return x[:, : self.shape[1]]


class AudioFiles(Dataset):
    """Files in the cache, at the rate and with the channels of the modality, as clips of one length.

    A sound longer than a clip gives as many clips as fit into it; each time, each is cut at another place. A place
    where it is silent is left for another, up to `TRIES` times, and then for where the sound is loudest. A shorter
    sound has silence after it.
    """

    def __init__(self, modality: AudioModality, store: Store, seconds: float):
        self.modality = modality
        self.store = store
        self.length = modality.samples(seconds)
        self.shape = modality.shape(self.length)
        clips = np.maximum(1, store.shapes[:, 1] // self.length)
        self.sources = np.repeat(np.arange(len(store)), clips)
        self.origin = store.key

    def __len__(self) -> int:
        return len(self.sources)

    def x0(self, index: int, random: np.random.Generator) -> Tensor:
        piece = full_scale(sounding_piece(self.store[self.sources[index]], self.length, random))
        return self.modality.frontend.encode(torch.from_numpy(piece))


class AudioFolder(AudioFiles):
    """Sound files below a folder, with classes and captions as `multidiff.data.folder` finds them.

    Args:
        root: the folder.
        seconds: length of the clips.
        loudness: LUFS that every file is brought to; None leaves them as they are.
        min_seconds: shorter files count as unreadable.
        max_unreadable: how many files may be left out because they cannot be read, are too short or silent.
        cache: folder for the decoded sounds; by default that of the user.

    Raises:
        InputError: there is nothing to read, or too much that cannot be read.
    """

    def __init__(
        self,
        modality: AudioModality,
        root: str | Path,
        seconds: float,
        loudness: float | None = -18.0,
        min_seconds: float = 0.05,
        max_unreadable: int = 10,
        cache: str | Path | None = None,
    ):
        root = path_of(root)
        entries = find_entries(root, modality.suffixes, modality.name)
        paths = [entry.path for entry in entries]
        store = stored(modality, paths, root, min_seconds, loudness, max_unreadable, cache)
        super().__init__(modality, store, seconds)
        kept = [entries[i] for i in store.kept]
        labels, self.label_names = class_indices(kept)
        captions = captions_of(kept)
        self.labels = None if labels is None else [labels[i] for i in self.sources]
        self.captions = None if captions is None else [captions[i] for i in self.sources]


def stored(
    modality: AudioModality,
    paths: Sequence[Path],
    root: Path,
    min_seconds: float,
    loudness: float | None,
    max_unreadable: int,
    cache: str | Path | None,
) -> Store:
    """The sounds in ``paths`` as 16 bits ``(C, T)`` in the cache; what had to be converted is said once, when it is."""
    converted: Counter[str] = Counter()
    store = decoded(
        paths,
        prepared(modality, min_seconds, loudness, converted),
        {
            "kind": "audio",
            "sample_rate": modality.sample_rate,
            "channels": modality.sides,
            "min_seconds": min_seconds,
            "loudness": loudness,
        },
        root=root,
        kind=modality.name,
        max_unreadable=max_unreadable,
        cache=None if cache is None else Path(cache).expanduser(),
    )
    if converted:
        log.warning("%s/: files converted: %s", root, ", ".join(f"{n} {how}" for how, n in sorted(converted.items())))
    return store


def prepared(
    modality: AudioModality, min_seconds: float, loudness: float | None, converted: Counter[str]
) -> Callable[[Path | NamedBytes], np.ndarray]:
    """What turns a file into an array of the store, counting its conversions in ``converted``."""

    def prepare(path: Path | NamedBytes) -> np.ndarray:
        clip = read_clip(path)
        if clip.seconds < min_seconds:
            raise InputError(f"{path}: lasts {clip.seconds:.3g} s, shorter than data.min_seconds={min_seconds}")
        if is_silent(clip.waveform):
            raise InputError(f"{path}: silent")
        try:
            fitted = modality.fitted(clip)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        if is_silent(fitted.waveform):
            raise InputError(f"{path}: silent at {modality.sample_rate} Hz and {modality.sides} channels")
        if clip.sample_rate != modality.sample_rate:
            converted[f"from {clip.sample_rate} to {modality.sample_rate} Hz"] += 1
        if clip.channels != modality.sides:
            converted[f"from {clip.channels} to {modality.sides} channels"] += 1
        waveform = fitted.waveform
        if loudness is not None:
            waveform = at_loudness(waveform, modality.sample_rate, loudness)
        return sixteen_bits(waveform)

    return prepare


def sounding_piece(sound: np.ndarray, length: int, random: np.random.Generator) -> np.ndarray:
    """A part of ``sound``, 16 bits ``(C, T)``, of that length and not silent; a shorter sound gets silence after it."""
    missing = length - sound.shape[1]
    if missing >= 0:
        return np.pad(sound, ((0, 0), (0, missing)))
    for _ in range(TRIES):
        start = int(random.integers(1 - missing))
        piece = sound[:, start : start + length]
        if not is_silent(full_scale(piece)):
            return piece
    loudest = int(np.abs(full_scale(sound)).max(axis=0).argmax())
    start = min(max(0, loudest - length // 2), -missing)
    return sound[:, start : start + length]


def sixteen_bits(waveform: np.ndarray) -> np.ndarray:
    """Full scale at -1 and 1 as int16."""
    return (np.clip(waveform, -1, 1) * 32767).round().astype(np.int16)


def full_scale(samples: np.ndarray) -> np.ndarray:
    """The inverse of ``sixteen_bits``, float32."""
    return samples.astype(np.float32) / np.float32(32767)
