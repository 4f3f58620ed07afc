"""Shape data sets: surfaces sampled once into the cache, and drawn from it anew each time."""

import logging
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import trimesh
from torch import Tensor

from modalities.shape.cloud import Normalisation, PointCloud
from modalities.shape.files import DROPPED, MESH_SUFFIXES, read_geometry, sample_surface
from modalities.shape.furniture import LABELS, make
from modalities.shape.modality import ShapeModality
from modalities.shape.solids import sample_union
from multidiff.data.cache import Store, decoded, made
from multidiff.data.dataset import Dataset
from multidiff.data.folder import Entry, captions_of, class_indices, find_entries, path_of
from multidiff.errors import InputError

WILD = 100.0
"""Largest size over smallest in one folder beyond which a word is said."""

SURVEYED = 256
"""Shapes whose points the statistics are of."""

log = logging.getLogger(__name__)


class PointClouds(Dataset):
    """Shapes from a store of many points each, of which every look draws other ``points``.

    Args:
        modality: whose channels the rows of the store have.
        store: rows of each shape, ``(stored, channels)``.
        points: N of the samples.

    Attributes:
        modality_settings: the statistics by which the channels are scaled, unless the modality has some already.
    """

    def __init__(self, modality: ShapeModality, store: Store, points: int):
        fewest = int(store.shapes[:, 0].min())
        if not 1 <= points <= fewest:
            raise InputError(f"data.points is from 1 to {fewest}, the points kept of each shape, not {points}")
        self.store, self.points = store, points
        self.origin = store.key
        self.shape = (modality.channels, points)
        some = np.linspace(0, len(store) - 1, min(SURVEYED, len(store))).astype(int)
        self.modality_settings = modality.scaled_to(np.concatenate([store[i] for i in some]))
        self.scaling = modality.with_settings(self.modality_settings).scaling

    def __len__(self) -> int:
        return len(self.store)

    def x0(self, index: int, random: np.random.Generator) -> Tensor:
        rows = self.store[index]
        return self.scaling.tensor(rows[random.choice(len(rows), self.points, replace=False)])


class Furniture(PointClouds):
    """The solids of `modalities.shape.furniture`, as many of each class, each with a true caption.

    Args:
        modality: of 3, 6 or 9 channels.
        points: N of the samples.
        count: shapes, over all classes.
        stored: points kept of each shape.
        seed: of the shapes; another seed makes others.
        cache: folder for the points; by default that of the user.
        labels: the classes; by default all of `LABELS`.
    """

    def __init__(
        self,
        modality: ShapeModality,
        points: int,
        count: int,
        stored: int = 4096,
        seed: int = 0,
        cache: str | Path | None = None,
        labels: Sequence[str] = LABELS,
    ):
        unknown = sorted(set(labels) - set(LABELS))
        if unknown or not labels:
            raise InputError(f"there is no furniture {', '.join(unknown)!r}; there are: {', '.join(LABELS)}")
        if count < 1:
            raise InputError(f"data.count is the number of shapes, at least 1, not {count}")
        self.label_names = tuple(labels)
        self.labels = [i % len(labels) for i in range(count)]

        def rows(index: int) -> np.ndarray:
            thing = make(labels[index % len(labels)], _generator(seed, index))
            cloud = sample_union(thing.parts, stored, _generator(seed, index, 1))
            return normalised(cloud, Normalisation.of(cloud.points, modality.normalisation)).rows(modality.channels)

        settings = {"kind": "furniture", "version": 1, "labels": list(labels), "stored": stored, "seed": seed}
        store = made(count, rows, settings | modality.preparation, cache=_folder(cache))
        self.captions = [make(labels[i % len(labels)], _generator(seed, i)).caption for i in range(count)]
        super().__init__(modality, store, points)


class MeshFolder(PointClouds):
    """Meshes below a folder, with classes and captions as `multidiff.data.folder` finds them.

    Scenes are flattened; surfaces are sampled evenly by area; each shape is normalised on its own.

    Args:
        modality: of 3, 6 or 9 channels; a mesh without colours is grey.
        root: the folder.
        points: N of the samples.
        stored: points kept of each shape.
        up: the axis of the files that points up, "y" or "z".
        split: of ``root/CLASS/SPLIT/FILE``, the layout of ModelNet; None takes every file.
        max_unreadable: how many files may be left out because they cannot be used.
        cache: folder for the points; by default that of the user.

    Raises:
        InputError: there is no mesh, or too many cannot be read.
    """

    def __init__(
        self,
        modality: ShapeModality,
        root: str | Path,
        points: int,
        stored: int = 8192,
        up: str = "y",
        split: str | None = None,
        max_unreadable: int = 10,
        cache: str | Path | None = None,
    ):
        root = path_of(root)
        entries = find_entries(root, MESH_SUFFIXES, "mesh")
        if split is not None:
            entries = in_split(entries, root, split)
        sizes: dict[Path, float] = {}
        dropped: dict[Path, int] = {}

        def rows(path: Path) -> np.ndarray:
            try:
                shape = read_geometry(path)
                dropped[path] = shape.metadata.get(DROPPED, 0)
                cloud = surface_points(shape, stored, modality).upright(up)
                normalisation = Normalisation.of(cloud.points, modality.normalisation)
                sizes[path] = normalisation.scale
                return normalised(cloud, normalisation).rows(modality.channels)
            except InputError as error:
                raise InputError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error

        store = decoded(
            [entry.path for entry in entries],
            rows,
            {"kind": "mesh", "version": 2, "stored": stored, "up": up, **modality.preparation},
            root=root,
            kind="mesh",
            max_unreadable=max_unreadable,
            cache=_folder(cache),
        )
        _say_if_wild(sizes, modality)
        if any(dropped.values()):
            total, files = sum(dropped.values()), sum(map(bool, dropped.values()))
            log.warning("%d degenerate faces of %d files were dropped", total, files)
        kept = [entries[i] for i in store.kept]
        self.labels, self.label_names = class_indices(kept)
        self.captions = captions_of(kept)
        super().__init__(modality, store, points)


class ShapeNetPoints(PointClouds):
    """PointFlow's ShapeNet: 15,000 points a shape as ``root/SYNSET/train/MODEL.npy``, ``(15000, 3)``, y up.

    With ``modality.normalisation=none`` all shapes share one mean and one deviation, which is PointFlow's normalisation
    up to its mean of the axes; ``bounding_box`` and ``unit_sphere`` treat each shape alone. Yang et al. (2019),
    https://arxiv.org/abs/1906.12320.

    Args:
        modality: of 3 channels.
        root: the folder of the synsets.
        points: N of the samples.
        split: "train", "val" or "test".
        max_unreadable: how many files may be left out.
        cache: folder for the points; by default that of the user.
    """

    def __init__(
        self,
        modality: ShapeModality,
        root: str | Path,
        points: int,
        split: str = "train",
        max_unreadable: int = 0,
        cache: str | Path | None = None,
    ):
        if modality.channels != 3:
            raise InputError(f"ShapeNet's points have no normals: set modality.channels=3, it is {modality.channels}")
        root = path_of(root)
        entries = in_split(find_entries(root, (".npy",), "cloud"), root, split)

        def rows(path: Path) -> np.ndarray:
            positions = _read_npy(path)
            return Normalisation.of(positions, modality.normalisation).apply(positions).astype(np.float32)

        store = decoded(
            [entry.path for entry in entries],
            rows,
            {"kind": "shapenet_points", **modality.preparation},
            root=root,
            kind="cloud",
            max_unreadable=max_unreadable,
            cache=_folder(cache),
        )
        self.labels, self.label_names = class_indices([entries[i] for i in store.kept])
        super().__init__(modality, store, points)


def normalised(cloud: PointCloud, normalisation: Normalisation) -> PointCloud:
    """``cloud`` in the common size."""
    return PointCloud(normalisation.apply(cloud.points), cloud.normals, cloud.colours)


def surface_points(shape: trimesh.Trimesh | PointCloud, count: int, modality: ShapeModality) -> PointCloud:
    """``count`` points of a mesh, or of a cloud that has as many: always the same of a shape, others of another."""
    if isinstance(shape, PointCloud):
        if len(shape) < count:
            raise InputError(f"has {len(shape)} points, fewer than data.stored={count}")
        return shape[_generator_of(shape.points).choice(len(shape), count, replace=False)]
    return sample_surface(shape, count, _generator_of(shape.vertices), colours=modality.channels == 9)


def in_split(entries: Sequence[Entry], root: Path, split: str) -> tuple[Entry, ...]:
    """The entries at ``root/CLASS/SPLIT/FILE``.

    Raises:
        InputError: there is none.
    """
    chosen = tuple(entry for entry in entries if entry.path.relative_to(root).parts[1:2] == (split,))
    if not chosen:
        raise InputError(f"{root} holds no CLASS/{split}/FILE: set data.split to one of its folders")
    return chosen


def _read_npy(path: Path) -> np.ndarray:
    try:
        positions = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: not an array of NumPy ({error})") from error
    if positions.ndim != 2 or positions.shape[1] != 3 or not np.isfinite(positions).all():
        raise InputError(f"{path}: expected finite numbers (points, 3), got {positions.shape}")
    return positions


def _say_if_wild(sizes: dict[Path, float], modality: ShapeModality) -> None:
    smallest, largest = (choose(sizes, key=sizes.__getitem__, default=None) for choose in (min, max))
    if smallest and largest and sizes[largest] > WILD * sizes[smallest] > 0:
        log.warning(
            "sizes run from %.3g (%s) to %.3g (%s): normalised to one (%s)",
            *(sizes[smallest], smallest.name, sizes[largest], largest.name, modality.normalisation),
        )


def _generator(*key: int) -> np.random.Generator:
    return np.random.default_rng(key)


def _generator_of(positions: np.ndarray) -> np.random.Generator:
    return _generator(zlib.crc32(np.asarray(positions, dtype=np.float64).tobytes()))


def _folder(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path).expanduser()
