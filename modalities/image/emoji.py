"""The emoji of OpenMoji as training data, with their names as captions."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from modalities.image.drawings import INSTALL, DrawingPreparation, openmoji
from multidiff.data.cache import decoded
from multidiff.data.dataset import Dataset
from multidiff.data.scan import path_of
from multidiff.errors import InputError

if TYPE_CHECKING:
    from modalities.image.modality import ImageModality

_TONES = range(0x1F3FB, 0x1F400)
_LETTERS = range(0x1F1E6, 0x1F200)
"""Of which two make a flag."""

_VARIANT = 0xFE0F


class Emoji(Dataset):
    """The drawings of OpenMoji that Unicode names, some 1900, with their names and aliases as captions.

    The drawings of one emoji in several skin tones are one sample, which takes any of them each time.

    OpenMoji, https://openmoji.org, is licensed CC BY-SA 4.0.

    Args:
        modality: of the images.
        size: pixels of the square, or (height, width).
        background: a colour in CSS notation. With 4 channels, it stays transparent.
        flip: mirror every other drawing, at random.
        cache: folder for the rasterised drawings; by default that of the user.

    Raises:
        InputError: the packages of the extra ``emoji`` are missing, or a setting cannot be used.
    """

    def __init__(
        self,
        modality: "ImageModality",
        size: int | Sequence[int],
        background: str = "white",
        flip: bool = False,
        cache: str | Path | None = None,
    ):
        self.preparation = DrawingPreparation(modality, size, background, flip)
        (folder, _), names = openmoji(), _names()
        groups: dict[tuple[int, ...], list[Path]] = defaultdict(list)
        for path in sorted(folder.glob("*.svg")):
            groups[_code(path.stem)].append(path)
        known = [code for code in groups if code in names]
        self.fields = {"caption": [names[code] for code in known]}
        paths = [path for code in known for path in groups[code]]
        self.store = decoded(
            paths,
            self.preparation,
            root=folder,
            kind="image",
            max_unreadable=0,
            cache=None if cache is None else path_of(cache),
        )
        self.shape, self.origin = self.preparation.shape, self.store.key
        self.ends = np.cumsum([len(groups[code]) for code in known])

    def __len__(self) -> int:
        return len(self.ends)

    def data(self, index: int, random: np.random.Generator) -> Tensor:
        first = self.ends[index - 1] if index else 0
        return self.preparation.sample(self.store[int(random.integers(first, self.ends[index]))], random)


def _names() -> dict[tuple[int, ...], tuple[str, ...]]:
    """The names of each emoji by its code."""
    try:
        import emoji  # noqa: PLC0415  of an extra
    except ImportError as error:
        raise InputError(f"data=emoji needs the package emoji: {INSTALL} ({error})") from error
    names = {}
    for symbol, facts in emoji.EMOJI_DATA.items():
        code = tuple(ord(character) for character in symbol)
        if not set(code) & set(_TONES):
            names[_plain(code)] = _captions(code, (facts["en"], *facts.get("alias", ())))
    return names


def _captions(code: Sequence[int], names: Sequence[str]) -> tuple[str, ...]:
    """``:dog_face:`` and ``:dog:`` as "dog face" and "dog"; ``:Malta:`` as "flag of Malta"."""
    plain = [name.strip(":").replace("_", " ") for name in names]
    if len(code) == 2 and set(code) <= set(_LETTERS):
        return (f"flag of {plain[0]}",)
    return tuple(dict.fromkeys(plain))


def _code(stem: str) -> tuple[int, ...]:
    """``1F44D-1F3FD`` without its skin tone."""
    return _plain(int(part, 16) for part in stem.split("-"))


def _plain(code: Iterable[int]) -> tuple[int, ...]:
    """Without skin tones, and without the mark of coloured display, which names and files use differently."""
    return tuple(part for part in code if part != _VARIANT and part not in _TONES)
