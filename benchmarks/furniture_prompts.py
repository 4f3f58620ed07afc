"""How often the furniture that a model of text generates is what its prompts say: kind, legs, proportions, thickness.

Each word of a prompt is measured on the points and normals; the agreement of real furniture, the ceiling, is printed
beside. Colours and woods are not judged: points without colours do not show them.

    python benchmarks/furniture_prompts.py RUN --prompts 400 --guidance 1 2
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np
from furniture_measures import MEASURES, Shape
from prompt_judge import Case, Subject, main

from modalities.shape.cloud import PointCloud
from modalities.shape.data import Furniture
from modalities.shape.modality import ShapeModality

POINTS = 1024
"""Of each shape, as many as are measured."""

CELLS = 6
"""Of the grid along each axis, from whose density the kind is read."""

SAID: Mapping[str, Mapping[str, str]] = {
    "bed": {
        "width": "(wide|narrow) .* bed",
        "pillows": "(one|two) pillow",
        "headboard": "(low|high) headboard",
        "legs": "(four) legs",
    },
    "bottle": {
        "height": "(stout|slender)",
        "neck length": "(short|long) .* neck",
        "neck width": "(narrow|wide) neck",
        "shoulders": "(square|sloping)",
    },
    "chair": {
        "back": "(low|high) .* chair",
        "slats": "(3|4) slats",
        "arms": "with (?:. slats|a solid back)( and arms)?",
        "leg width": "(slim|sturdy) legs",
        "seat thickness": "(thin|thick) .* seat",
        "seat width": "(narrow|wide) seat",
    },
    "lamp": {"height": "(short|tall) lamp", "pole": "(thin|thick) pole", "foot": "(small|large) foot"},
    "mug": {
        "height": "(wide|slim) .* mug",
        "handle size": "(small|large) .* handle",
        "handle thickness": "(thin|thick) handle",
    },
    "shelf": {
        "height": "(low|tall) .* shelf",
        "boards": "with (two|three|four|five) boards",
        "back": "(closed|open) back",
        "width": "(narrow|wide) .* boards",
        "thickness": "(thin|thick) boards",
        "depth": "(shallow|deep) sides",
    },
    "sofa": {
        "width": "(short|long) .* sofa",
        "legs": "sofa( on legs)?",
        "back": "(low|high) back",
        "arms": "(slim|wide) arms",
        "depth": "(shallow|deep) seat",
    },
    "table": {
        "height": "(low|tall) .* table",
        "form": "(round|rectangular) .* table",
        "legs": "with (one|three|four) legs?",
        "thickness": "(thin|thick) top",
    },
}
"""What captions say of each kind, by attribute; a group that does not match says no."""

DIGITS = {"3": "three", "4": "four", None: "no"}


def real(count: int, seed: int) -> tuple[Sequence[PointCloud], Sequence[Case]]:
    """Pieces with one of their captions each."""
    modality = ShapeModality(6)
    data = Furniture(modality, POINTS, count, seed=seed)
    clouds, cases = [], []
    assert data.labels is not None
    for i in range(count):
        random = np.random.default_rng((seed, i))
        clouds.append(modality.to_artifact(data.data(i, random)))
        kind, prompt = data.labels[i], str(data.facts(i, random)["caption"])
        cases.append(Case(prompt, kind, said(kind, prompt)))
    return clouds, cases


def said(kind: str, prompt: str) -> dict[str, str]:
    """The words of a caption by attribute: ``{"height": "low", "form": "round", "legs": "three"}``."""
    found = {name: re.search(pattern, prompt) for name, pattern in SAID[kind].items()}
    return {name: DIGITS.get(match[1], match[1]).strip() for name, match in found.items() if match}


def features(cloud: PointCloud) -> np.ndarray:
    """The share of points in each cell of the bounding box, and the lengths of its sides."""
    cloud = thinned(cloud)
    low, high = np.quantile(cloud.points, (0.005, 0.995), axis=0)
    cells = ((cloud.points - low) / (high - low) * CELLS).clip(0, CELLS - 1).astype(int)
    counts = np.bincount(np.ravel_multi_index(cells.T, (CELLS,) * 3), minlength=CELLS**3)
    return np.concatenate([np.sqrt(counts / len(cells)), (high - low) / (high - low).max()])


def measures(kind: str, cloud: PointCloud) -> Mapping[str, float]:
    """Proportions and counts of a kind."""
    return MEASURES[kind](Shape.of(thinned(cloud)))


def thinned(cloud: PointCloud) -> PointCloud:
    """`POINTS` of the points of a mesh, since the boundaries between words are those of as many points."""
    return cloud[np.random.default_rng(0).permutation(len(cloud))[:POINTS]]


if __name__ == "__main__":
    main(__doc__, Subject(real, features, measures))
