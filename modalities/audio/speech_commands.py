"""Speech Commands: spoken words of one second by thousands of speakers. Its ten digits are SC09.

::

    root/zero/0a7c2a8d_nohash_0.wav   one folder a word; a file is named after its speaker
    root/validation_list.txt          zero/0a7c2a8d_nohash_0.wav, one file a line, held out of training
    root/testing_list.txt             likewise
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from modalities.audio.modality import AudioModality
from modalities.audio.preparation import AudioPreparation
from multidiff.data.cache import decoded
from multidiff.data.folder import Prepared
from multidiff.data.labels import Labels
from multidiff.data.scan import name_in, path_of
from multidiff.errors import InputError

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
Split = Literal["train", "validation", "test"]
LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}


class SpeechCommands(Prepared):
    """One split of Speech Commands. The published lists put each speaker into one split.

    Warden (2018), https://arxiv.org/abs/1804.03209.

    Args:
        root: folder of the words and the two lists.
        split: "train", "validation" or "test".
        words: which words; by default the digits, which is SC09.
        loudness: LUFS that every file is brought to; None leaves them as they are.
        max_unreadable: how many files may be left out because they cannot be read or are silent.
        cache: folder for the decoded sounds; by default that of the user.

    Raises:
        InputError: a list or a word is missing, or a speaker is in two splits.
    """

    def __init__(
        self,
        modality: AudioModality,
        root: str | Path,
        split: Split = "train",
        words: Sequence[str] = DIGITS,
        loudness: float | None = None,
        max_unreadable: int = 10,
        cache: str | Path | None = None,
    ):
        if split not in get_args(Split):
            raise InputError(f"data.split is one of {', '.join(get_args(Split))}, not {split!r}")
        root = path_of(root)
        paths = split_paths(root, split, words)
        preparation = AudioPreparation(modality, seconds=1.0, loudness=loudness, min_seconds=0.0)
        store = decoded(
            paths,
            preparation,
            root=root,
            kind=modality.name,
            max_unreadable=max_unreadable,
            cache=None if cache is None else path_of(cache),
        )
        spoken = [list(words).index(paths[i].parent.name) for i in store.kept]
        super().__init__(preparation, store, {"label": Labels(spoken, words)})


def split_paths(root: Path, split: Split, words: Sequence[str]) -> list[Path]:
    """The files of a split, ordered by word and name."""
    listed = {kind: _listed(root / name) for kind, name in LISTS.items()}
    paths = []
    for word in words:
        if not (root / word).is_dir():
            raise InputError(f"no folder {root / word}: set data.root to the one that holds the words")
        paths += sorted((root / word).glob("*.wav"))
    places = {path: next((kind for kind in LISTS if name_in(root, path) in listed[kind]), "train") for path in paths}
    _check_speakers(root, places)
    chosen = [path for path in paths if places[path] == split]
    if not chosen:
        raise InputError(f"no file of the {split} split of {', '.join(words)} in {root}/")
    return chosen


def speaker(path: Path) -> str:
    """The speaker of a file, by its name."""
    return path.name.partition("_")[0]


def _check_speakers(root: Path, places: dict[Path, str]) -> None:
    homes: dict[str, str] = {}
    for path, split in places.items():
        if homes.setdefault(speaker(path), split) != split:
            raise InputError(
                f"{name_in(root, path)}: speaker {speaker(path)} is in both the {homes[speaker(path)]} and the {split} "
                f"split; take {' and '.join(LISTS.values())} from the version that the files are from"
            )


def _listed(path: Path) -> set[str]:
    try:
        return set(path.read_text("utf-8").split())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: Speech Commands comes with it, and it decides the split") from error
