"""Folders of tiny pictures."""

import numpy as np
from PIL import Image

from modalities.image.modality import ImageModality
from multidiff.data.folder import Folder


def folder(tmp_path, pictures, captions=(), **settings):
    """The data set of ``pictures``, arrays by name, with captions beside some of them."""
    root = tmp_path / "pictures"
    for name, pixels in pictures.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / name, quality=95, subsampling=0)
    for name, caption in captions:
        (root / name).with_suffix(".txt").write_text(caption)
    return Folder(ImageModality(3), root, cache=tmp_path / "cache", **{"size": 16, **settings})


def noise(seed):
    return np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
