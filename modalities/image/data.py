"""Image data sets, all from local files; in memory, or decoded once into the cache."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from torch import Tensor

from modalities.image.cifar import read_cifar
from modalities.image.idx import find_idx, read_idx
from modalities.image.modality import ImageModality, to_pixels, unit_scale
from multidiff.data.cache import Store, decoded
from multidiff.data.dataset import Dataset
from multidiff.data.folder import captions_of, class_indices, find_entries, first_few, name_in, path_of
from multidiff.errors import InputError

Crop = Literal["center", "random"]
Split = Literal["train", "test"]


class Labelled(Dataset):
    """Labelled images held in memory.

    Args:
        pixels: levels from 0 to ``white``, ``(N, C, H, W)``.
        labels: index into ``label_names`` of each image.
        flip: mirror every other image, at random.
    """

    def __init__(
        self,
        pixels: np.ndarray,
        labels: Sequence[int],
        label_names: tuple[str, ...],
        white: int = 255,
        flip: bool = False,
    ):
        self.pixels, self.labels, self.label_names, self.white, self.flip = pixels, labels, label_names, white, flip
        self.shape = pixels.shape[1:]
        self.origin = hashlib.sha256(repr((pixels.dtype, white)).encode() + pixels.tobytes()).hexdigest()

    def __len__(self) -> int:
        return len(self.pixels)

    def x0(self, index: int, random: np.random.Generator) -> Tensor:
        pixels = self.pixels[index]
        return unit_scale(mirrored(pixels, random) if self.flip else pixels, self.white)


class Digits(Labelled):
    """The 1797 handwritten digits of 8 x 8 pixels and 17 levels that come with scikit-learn.

    Alpaydin and Kaynak (1998), https://archive.ics.uci.edu/dataset/80.
    """

    def __init__(self, modality: ImageModality):
        from sklearn.datasets import load_digits  # noqa: PLC0415, a second that only these digits should cost

        _require_channels(modality, 1, "digits")
        digits = load_digits()
        pixels = digits.images[:, None].astype(np.uint8)
        super().__init__(pixels, digits.target.tolist(), tuple(map(str, digits.target_names)), white=16)


class IDX(Labelled):
    """MNIST, Fashion-MNIST, or a subset of EMNIST, which is stored transposed and is set upright here.

    Classes are called by their numbers; those of EMNIST's letters begin with 1.

    Args:
        root: folder that holds the files themselves, gzipped or not, under their published names.
        subset: of EMNIST, needed where ``root`` holds several: "letters", "balanced", "digits", ...
    """

    def __init__(self, modality: ImageModality, root: str | Path, split: Split = "train", subset: str | None = None):
        _require_channels(modality, 1, "MNIST and its kin")
        require(split, ("train", "test"), "split")
        files = find_idx(_folder(root), split, subset)
        images, numbers = read_idx(files.images, 3), read_idx(files.labels, 1)
        if len(images) != len(numbers) or not len(images):
            raise InputError(f"{files.images} holds {len(images)} images and {files.labels.name} {len(numbers)} labels")
        if files.subset is not None:
            images = np.ascontiguousarray(images.transpose(0, 2, 1))
        first = 1 if files.subset == "letters" else 0
        names = tuple(str(number) for number in range(first, int(numbers.max()) + 1))
        super().__init__(images[:, None], (numbers.astype(int) - first).tolist(), names)


class CIFAR(Labelled):
    """CIFAR-10 or CIFAR-100 (with its 100 fine classes), whichever Python version ``root`` holds."""

    def __init__(self, modality: ImageModality, root: str | Path, split: Split = "train", flip: bool = False):
        _require_channels(modality, 3, "CIFAR")
        require(split, ("train", "test"), "split")
        images, labels, names = read_cifar(_folder(root), split)
        super().__init__(images, labels, names, flip=flip)


class ImageFolder(Dataset):
    """Image files below a folder, with classes and captions as `multidiff.data.folder` finds them.

    The first run resizes each image so that it just covers ``size``, antialiased (Lanczos), and keeps it in the cache.

    Args:
        root: the folder.
        size: pixels of the square, or (height, width).
        crop: "center" keeps the middle; "random" keeps another part each time.
        flip: mirror every other image, at random.
        max_unreadable: how many files may be left out because they cannot be read.
        cache: folder for the decoded images; by default that of the user.

    Raises:
        InputError: there is nothing to read, too much that cannot be read, or an image smaller than ``size``.
    """

    def __init__(
        self,
        modality: ImageModality,
        root: str | Path,
        size: int | Sequence[int],
        crop: Crop = "center",
        flip: bool = False,
        max_unreadable: int = 10,
        cache: str | Path | None = None,
    ):
        require(crop, ("center", "random"), "crop")
        root = path_of(root)
        self.size, self.flip = height_and_width(size), flip
        entries = find_entries(root, modality.suffixes, modality.name)
        paths = [entry.path for entry in entries]
        self.store = decoded(
            paths,
            lambda path: prepared(modality.read(path), self.size, crop),
            {"kind": "image", "channels": modality.channels, "size": self.size, "crop": crop},
            root=root,
            kind=modality.name,
            max_unreadable=max_unreadable,
            cache=None if cache is None else Path(cache).expanduser(),
        )
        _require_large_enough(self.store, [name_in(root, path) for path in paths], self.size)
        kept = [entries[i] for i in self.store.kept]
        self.labels, self.label_names = class_indices(kept)
        self.captions = captions_of(kept)
        self.shape = (modality.channels, *self.size)
        self.origin = self.store.key

    def __len__(self) -> int:
        return len(self.store)

    def x0(self, index: int, random: np.random.Generator) -> Tensor:
        pixels = random_crop(self.store[index], self.size, random)
        return unit_scale(mirrored(pixels, random) if self.flip else pixels)


def prepared(image: Image.Image, size: tuple[int, int], crop: Crop) -> np.ndarray:
    """``image`` as uint8 ``(C, H, W)``, shrunk to just cover ``size`` and, for a crop in the center, cut to it.

    An image that does not cover ``size`` stays as it is.
    """
    height, width = size
    scale = max(height / image.height, width / image.width)
    if scale > 1:
        return to_pixels(image)
    covering = max(width, round(image.width * scale)), max(height, round(image.height * scale))
    pixels = to_pixels(image.resize(covering, Image.Resampling.LANCZOS))
    if crop == "random":
        return pixels
    top, left = (pixels.shape[1] - height) // 2, (pixels.shape[2] - width) // 2
    return pixels[:, top : top + height, left : left + width]


def random_crop(pixels: np.ndarray, size: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    """A part of ``pixels``, ``(C, H, W)``, of that size; nothing is drawn along an axis that fits already."""
    height, width = size
    top = int(random.integers(pixels.shape[1] - height + 1))
    left = int(random.integers(pixels.shape[2] - width + 1))
    return pixels[:, top : top + height, left : left + width]


def mirrored(pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """``pixels`` with left and right exchanged, or not, with equal chances."""
    return pixels[..., ::-1] if random.random() < 0.5 else pixels


def _require_large_enough(store: Store, names: Sequence[str], size: tuple[int, int]) -> None:
    height, width = size
    shapes = store.shapes[:, 1:]
    small = np.flatnonzero((shapes < size).any(axis=1))
    if not len(small):
        return
    sizes = {names[store.kept[i]]: f"{shapes[i][1]}x{shapes[i][0]}" for i in small}
    largest = shapes[small].min(axis=0)
    at_most = largest.min() if height == width else largest.tolist()
    raise InputError(
        f"{len(small)} of {len(store)} images are smaller than {width}x{height} ({first_few(sizes)}): "
        f"set data.size to at most {at_most}, or remove them"
    )


def _require_channels(modality: ImageModality, channels: int, what: str) -> None:
    if modality.channels != channels:
        raise InputError(
            f"{what} have {channels} channels: set modality.channels={channels}, it is {modality.channels}"
        )


def require(value: str, accepted: tuple[str, ...], name: str) -> None:
    """Refuse a value of the setting ``name`` that is not accepted."""
    if value not in accepted:
        raise InputError(f"data.{name} is one of {', '.join(accepted)}, not {value!r}")


def height_and_width(size: int | Sequence[int]) -> tuple[int, int]:
    """The setting ``size`` as two numbers of pixels."""
    sides = tuple(size) if isinstance(size, Sequence) else (size, size)
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise InputError(f"data.size is a number of pixels, or [height, width], not {size}")
    return sides


def _folder(root: str | Path) -> Path:
    path = path_of(root)
    if not path.is_dir():
        raise InputError(f"{path} is not a folder: set data.root to the one that holds the data set")
    return path
