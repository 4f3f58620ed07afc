"""Distances between point clouds, and scores of sets of them.

Definitions as in the evaluations of PointFlow, https://arxiv.org/abs/1906.12320, and PVD,
https://arxiv.org/abs/2104.03670. Distances are in the scale of the clouds.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from modalities.shape import mesh_scores
from modalities.shape.cloud import PointCloud
from modalities.shape.modality import ShapeModality
from modalities.shape.nearest import in_blocks, nearest_for
from multidiff.errors import InputError
from multidiff.evaluation.pairs import Pairs, two_set_scores
from multidiff.evaluation.set_metric import SetMetric

MATCHED = 512
"""Points of each cloud that enter the earth mover's distance."""

MATCHED_SHAPES = 80
"""Clouds of a set that enter the earth mover's distance, evenly from its classes: a pair takes about 20 ms."""

CELLS = 28
"""Cells along a side of the occupancy grid."""

NEAR = 0.001**0.5
"""Distance within which points match in the F-score: a squared distance of 0.001, in clouds between -1 and 1."""

ROUNDING = 1e-6
"""Relative error of a squared distance in single precision."""


def chamfer(x: Tensor, y: Tensor) -> Tensor:
    """Chamfer distances between clouds ``x``, ``(n, N, 3)``, and ``y``, ``(m, M, 3)``, as ``(n, m)`` in float64.

    The mean squared distance from each point to the nearest of the other cloud, summed over both directions:
    PointFlow, equation 13.
    """

    def distances(to_y: Tensor, to_x: Tensor) -> Tensor:
        return to_y.mean(dim=1, dtype=torch.float64) + to_x.mean(dim=1, dtype=torch.float64)

    return _all_pairs(x, y, distances)


def matching_bound(x: Tensor, y: Tensor) -> Tensor:
    """Lower bounds of the earth mover's distances between clouds of ``x`` and of ``y``, ``(n, m)`` in float64.

    Each point moves at least to the nearest of the other cloud. Kusner et al. (2015), section 4,
    https://proceedings.mlr.press/v37/kusnerb15.html.
    """

    def bounds(to_y: Tensor, to_x: Tensor) -> Tensor:
        return (1 - ROUNDING) * torch.maximum(*(s.sqrt().mean(dim=1, dtype=torch.float64) for s in (to_y, to_x)))

    return _all_pairs(x, y, bounds)


def _all_pairs(x: Tensor, y: Tensor, measure: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """``measure`` of the squared distances in both directions, for each cloud of ``x`` and several of ``y``."""
    same = x is y
    nearest = nearest_for(len(x) * len(y) * x.shape[1] * y.shape[1])
    found = torch.zeros(len(x), len(y), dtype=torch.float64)
    for i, cloud in enumerate(x[:, None]):
        others = y[i:] if same else y
        found[i, -len(others) :] = measure(nearest(cloud, others), nearest(others, cloud))
    return found + found.triu(1).mT if same else found


def earth_mover(x: Tensor, y: Tensor) -> float:
    """The mean distance between matched points of ``x``, ``(N, 3)``, and ``y``, ``(N, 3)``, in the best matching.

    Exact, by the Hungarian method. Subtracting the minimum of each column first changes no matching and saves time.
    """
    costs = torch.cdist(x.double(), y.double(), compute_mode="donot_use_mm_for_euclid_dist").numpy()
    rows, columns = linear_sum_assignment(costs - costs.min(axis=0))
    return float(costs[rows, columns].mean())


def f_score(x: Tensor, y: Tensor, near: float) -> float:
    """The `mesh_scores.f_score` of two clouds, ``(N, 3)`` and ``(M, 3)``."""
    to_y, to_x = in_blocks(x[None], y[None]), in_blocks(y[None], x[None])
    return mesh_scores.f_score(to_y.numpy(), to_x.numpy(), near**2)


def occupancy(clouds: Tensor, reach: float) -> Tensor:
    """Number of all points, ``(n, N, 3)``, in each cell of the cube from ``-reach`` to ``reach``.

    There are `CELLS` along a side; a point outside counts for the nearest cell.
    """
    cells = ((clouds.double() / reach + 1) / 2 * CELLS).floor().long().clamp(0, CELLS - 1)
    x, y, z = cells.reshape(-1, 3).unbind(dim=1)
    return torch.bincount((x * CELLS + y) * CELLS + z, minlength=CELLS**3)


def divergence(counts: Tensor, others: Tensor) -> float:
    """The Jensen-Shannon divergence of two histograms in bits: 0 if equal, 1 if disjoint."""
    p, q = counts.double() / counts.sum(), others.double() / others.sum()
    mixed, entropy_p, entropy_q = (torch.special.entr(d).sum() for d in ((p + q) / 2, p, q))
    return max(0.0, float((mixed - (entropy_p + entropy_q) / 2) / np.log(2)))


class PointCloudMetric(SetMetric):
    """1-NNA, coverage and minimum matching distance by Chamfer and earth mover's distance, divergence, and F-score.

    The F-score is that of each real shape and the sample nearest to it by Chamfer distance, averaged. Of all clouds, as
    many points are compared as the smallest has.

    Args:
        modality: of the clouds.

    Raises:
        InputError: another modality.
    """

    best: Mapping[str, str] = {
        "1nna_chamfer": "0.5",
        "1nna_earth_mover": "0.5",
        "coverage_chamfer": "higher",
        "coverage_earth_mover": "higher",
        "mmd_chamfer": "lower",
        "mmd_earth_mover": "lower",
        "occupancy_divergence": "lower",
        "f_score": "higher",
    }
    by_class = ("1nna_chamfer", "coverage_chamfer")
    largest = 400

    def __init__(self, modality: ShapeModality):
        if not isinstance(modality, ShapeModality):
            raise InputError(f"these scores are of shapes, and the data are of the modality {modality.name}")
        self.normalisation = modality.normalisation
        self.protocol = {
            "normalisation": self.normalisation,
            "chamfer": "mean squared distance to the nearest point, summed over both directions",
            "earth_mover": f"mean distance, exact matching, at most {MATCHED} points of about {MATCHED_SHAPES} clouds",
            "f_score": f"points within {NEAR:.4g} of the nearest real shape's, by Chamfer",
            "occupancy_divergence": f"Jensen-Shannon, in bits, {CELLS} cells along a side",
        }

    def form(self, artifact: PointCloud) -> Tensor:
        """Points ``(N, 3)`` in a fixed random order, so that the first few represent all."""
        order = np.random.default_rng(0).permutation(len(artifact))
        return torch.from_numpy(artifact.points[order])

    def scores(self, sets: Sequence[Tensor], reference: Tensor, parts: Sequence[slice]) -> list[list[dict[str, float]]]:
        fewest = min(clouds.shape[1] for clouds in (*sets, reference))  # distances depend on the density
        sets, reference = [clouds[:, :fewest] for clouds in sets], reference[:, :fewest]
        count, few = len(reference), spread(len(reference), parts)
        by_chamfer = Pairs(_table(chamfer, [*sets, reference]))
        matched = [clouds[few, :MATCHED] for clouds in (*sets, reference)]
        clouds = torch.cat(matched)
        by_earth_mover = Pairs(_table(matching_bound, matched), lambda i, j: earth_mover(clouds[i], clouds[j]))
        reach = 1.0 if self.normalisation != "none" else float(reference.abs().max())

        def scored(number: int, part: slice) -> dict[str, float]:
            generated, real = sets[number][part], reference[part]
            rows = range(count)[part]
            few_rows = [i for i, row in enumerate(few) if row in rows]
            groups = (number, len(sets))  # of the samples and of the reference
            places = [[group * count + row for row in rows] for group in groups]
            few_places = [[group * len(few) + i for i in few_rows] for group in groups]
            nearest = [by_chamfer.nearest(i, places[0])[0] - places[0][0] for i in places[1]]
            f_scores = [f_score(generated[i], cloud, NEAR) for i, cloud in zip(nearest, real, strict=True)]
            found = {
                **{f"{name}_chamfer": value for name, value in two_set_scores(by_chamfer, *places).items()},
                **{f"{name}_earth_mover": value for name, value in two_set_scores(by_earth_mover, *few_places).items()},
                "occupancy_divergence": divergence(occupancy(generated, reach), occupancy(real, reach)),
                "f_score": float(np.mean(f_scores)),
            }
            return {name: found[name] for name in self.best}

        return [[scored(number, part) for part in parts] for number in range(len(sets))]


def spread(count: int, parts: Sequence[slice]) -> list[int]:
    """About `MATCHED_SHAPES` of ``count`` rows, evenly from each of ``parts`` but the first, which holds all rows."""
    step = -(-count // MATCHED_SHAPES)
    return sorted({row for part in (parts[1:] or parts) for row in range(count)[part][::step]})


def _table(distances: Any, groups: Sequence[Tensor]) -> np.ndarray:
    """Distances within each group and to the last group, as one symmetric matrix; the others are infinite."""
    sizes = [len(group) for group in groups]
    table = np.full((sum(sizes), sum(sizes)), np.inf)
    ends = np.cumsum(sizes)
    last = slice(ends[-1] - sizes[-1], ends[-1])
    for group, end, size in zip(groups, ends, sizes, strict=True):
        own = slice(end - size, end)
        table[own, own] = distances(group, group)
        if own != last:
            table[own, last] = distances(group, groups[-1])
            table[last, own] = table[own, last].T
    return table
