"""Labelled image data sets that fit into memory, from local files or from scikit-learn."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

from modalities.image.cifar import read_cifar
from modalities.image.idx import find_idx, read_idx
from modalities.image.modality import ImageModality
from modalities.image.pixels import mirrored, unit_scale
from modalities.image.preparation import require
from multidiff.data.dataset import Dataset
from multidiff.data.labels import Labels
from multidiff.data.scan import path_of
from multidiff.errors import InputError

Split = Literal["train", "test"]


class Labelled(Dataset):
    """Labelled images held in memory.

    Args:
        pixels: values from 0 to ``white``, ``(N, C, H, W)``.
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
        self.pixels, self.white, self.flip = pixels, white, flip
        self.fields = {"label": Labels(labels, label_names)}
        self.shape = pixels.shape[1:]
        self.origin = hashlib.sha256(repr((pixels.dtype, white)).encode() + pixels.tobytes()).hexdigest()

    def __len__(self) -> int:
        return len(self.pixels)

    def data(self, index: int, random: np.random.Generator) -> Tensor:
        pixels = self.pixels[index]
        return unit_scale(mirrored(pixels, random) if self.flip else pixels, self.white)


class Digits(Labelled):
    """The 1797 handwritten digits of 8 x 8 pixels and 17 gray values that come with scikit-learn.

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
        _require_channels(modality, 1, "MNIST-like data sets")
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


def _require_channels(modality: ImageModality, channels: int, what: str) -> None:
    if modality.channels != channels:
        raise InputError(f"{what} have {channels} channels: set modality.channels={channels}, not {modality.channels}")


def _folder(root: str | Path) -> Path:
    path = path_of(root)
    if not path.is_dir():
        raise InputError(f"{path} is not a folder: set data.root to the one that holds the data set")
    return path
