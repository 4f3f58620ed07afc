"""Sounds in tar shards or tables, decoded as training asks for them."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from modalities.audio.data import full_scale, prepared, sounding_piece
from modalities.audio.modality import AudioModality
from multidiff.data.named_bytes import NamedBytes
from multidiff.data.streaming.encoded import Encoded, EncodedDataset
from multidiff.data.streaming.shards import Shards
from multidiff.data.streaming.table import Table


class EncodedSounds(EncodedDataset):
    """Sound files from a source, prepared as `modalities.audio.data.AudioFolder` prepares them, one clip of each.

    A longer sound is cut at another place each time. Sounds at another rate are resampled each time, which costs more
    than to read them.

    Args:
        source: the files. One that is silent or too short counts as unreadable.
        seconds: length of the clips.
        loudness: LUFS that every file is brought to; None leaves them as they are.
        min_seconds: what is too short.
        max_unreadable: how many sounds may be left out in a process.
    """

    def __init__(
        self,
        modality: AudioModality,
        source: Encoded,
        seconds: float,
        loudness: float | None,
        min_seconds: float,
        max_unreadable: int,
    ):
        self.modality, self.length = modality, modality.samples(seconds)
        self.min_seconds, self.loudness = min_seconds, loudness
        preparation = {"rate": modality.sample_rate, "loudness": loudness, "min_seconds": min_seconds}
        super().__init__(source, modality.shape(self.length), preparation, max_unreadable)

    def decoded(self, file: NamedBytes, random: np.random.Generator) -> Tensor:
        sound = prepared(self.modality, self.min_seconds, self.loudness, Counter())(file)
        piece = full_scale(sounding_piece(sound, self.length, random))
        return self.modality.frontend.encode(torch.from_numpy(piece))


class AudioShards(EncodedSounds):
    """Sounds in tar files, see `multidiff.data.streaming.shards.Shards` and `EncodedSounds`."""

    def __init__(
        self,
        modality: AudioModality,
        shards: str | Sequence[str],
        seconds: float,
        loudness: float | None = -18.0,
        min_seconds: float = 0.05,
        label: str = "cls",
        caption: str = "txt",
        mix: int = 16,
        max_unreadable: int = 100,
        cache: str | Path | None = None,
        cache_limit: float = 50.0,
    ):
        source = Shards(
            shards,
            modality.suffixes,
            modality.name,
            label=label,
            caption=caption,
            mix=mix,
            cache=cache,
            cache_limit=cache_limit,
        )
        super().__init__(modality, source, seconds, loudness, min_seconds, max_unreadable)


class AudioTable(EncodedSounds):
    """Sounds in a column of a table, see `multidiff.data.streaming.table.Table` and `EncodedSounds`."""

    def __init__(
        self,
        modality: AudioModality,
        root: str | Path,
        seconds: float,
        split: str = "train",
        column: str = "audio",
        label: str | None = "label",
        caption: str | None = "text",
        loudness: float | None = -18.0,
        min_seconds: float = 0.05,
        max_unreadable: int = 100,
        cache: str | Path | None = None,
        cache_limit: float = 50.0,
    ):
        source = Table(root, split, column, "Audio", label=label, caption=caption, cache=cache, cache_limit=cache_limit)
        super().__init__(modality, source, seconds, loudness, min_seconds, max_unreadable)
