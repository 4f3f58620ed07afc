"""Shape data sets that are generated here."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from modalities.shape.cloud import Normalisation
from modalities.shape.distance_data import DistancePreparation, measured, normalised
from modalities.shape.files import sample_surface
from modalities.shape.furniture import LABELS, make
from modalities.shape.modality import ShapeModality
from modalities.shape.preparation import ShapePreparation
from modalities.shape.solids import sample_union, union
from multidiff.data.cache import generated
from multidiff.data.folder import Prepared
from multidiff.data.labels import Labels
from multidiff.data.scan import path_of
from multidiff.errors import InputError


class Furniture(Prepared):
    """The solids of `modalities.shape.furniture`, equally many of each class, each with a caption that describes it.

    Args:
        modality: of 3, 6 or 9 channels.
        points: N of the samples.
        count: number of shapes, over all classes.
        stored: points kept of each shape.
        seed: of the shapes.
        cache: folder for the points; by default that of the user.
        labels: the classes; by default all of `LABELS`.

    Raises:
        InputError: a class is unknown, or a setting cannot be used.
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
        check_furniture(count, labels)
        preparation = ShapePreparation(modality, points, stored)
        column = Labels(np.arange(count) % len(labels), labels)

        def rows(index: int) -> np.ndarray:
            piece = make(column[index], np.random.default_rng((seed, index)))
            cloud = sample_union(piece.parts, stored, np.random.default_rng((seed, index, 1)))
            return Normalisation.of(cloud.points, modality.normalisation)(cloud).rows(modality.channels)

        settings = {**preparation.settings, "kind": "furniture", "version": 1, "labels": list(labels), "seed": seed}
        del settings["points"]  # all solids have enough
        store = generated(map(rows, range(count)), count, settings, cache=None if cache is None else path_of(cache))
        super().__init__(preparation, store, {"label": column, "caption": captions_of(column, seed)})


class FurnitureDistances(Prepared):
    """Signed distances to the solids of `Furniture` with the same seed, for codecs and models of their latents.

    Args:
        modality: of 6 channels.
        points: of the surface in a sample.
        queries: in a sample.
        count: number of shapes, over all classes.
        stored: points, and as many queries, kept of each shape.
        seed: of the shapes.
        cache: folder for the points; by default that of the user.
        labels: the classes; by default all of `LABELS`.

    Raises:
        InputError: a class is unknown, or a setting cannot be used.
    """

    def __init__(
        self,
        modality: ShapeModality,
        points: int,
        queries: int,
        count: int,
        stored: int = 4096,
        seed: int = 0,
        cache: str | Path | None = None,
        labels: Sequence[str] = LABELS,
    ):
        check_furniture(count, labels)
        preparation = DistancePreparation(modality, points, queries, stored)
        column = Labels(np.arange(count) % len(labels), labels)

        def rows(index: int) -> np.ndarray:
            solid = union(make(column[index], np.random.default_rng((seed, index))).parts)
            mesh, random = normalised(solid, modality.normalisation), np.random.default_rng((seed, index, 2))
            return measured(mesh, sample_surface(mesh, stored, random, colours=False), random)

        own = {"kind": "furniture_distances", "version": 1, "labels": list(labels), "seed": seed}
        settings = {**preparation.settings, **own}
        store = generated(map(rows, range(count)), count, settings, cache=None if cache is None else path_of(cache))
        super().__init__(preparation, store, {"label": column, "caption": captions_of(column, seed)})


def captions_of(labels: Sequence[str], seed: int) -> list[tuple[str, ...]]:
    """The descriptions of each piece."""
    return [make(label, np.random.default_rng((seed, i))).captions for i, label in enumerate(labels)]


def check_furniture(count: int, labels: Sequence[str]) -> None:
    """Refuse classes that do not exist, and a number of shapes that is none."""
    unknown = sorted(set(labels) - set(LABELS))
    if unknown or not labels:
        raise InputError(f"there is no furniture {', '.join(unknown)!r}; there are: {', '.join(LABELS)}")
    if count < 1:
        raise InputError(f"data.count is the number of shapes, at least 1, not {count}")
