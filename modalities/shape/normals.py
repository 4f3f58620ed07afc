"""Estimation of normals for points without them."""

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree
from scipy.spatial import cKDTree

from modalities.shape.cloud import PointCloud

NEIGHBOURS = 6
"""Neighbours between which signs are propagated. More of them would reach through thin parts."""

VOTERS = 24
"""Neighbours that decide on which side of a point the shape lies."""

TURN = 0.15
"""Signs are propagated between normals whose absolute cosine is above ``1 - TURN``."""

CLIMB = 0.35
"""And along edges whose absolute cosine with both normals is below this: steeper ones lead through the shape."""


def oriented(cloud: PointCloud) -> PointCloud:
    """``cloud`` with outward normals, estimated if it has none.

    Directions by principal components; signs propagated along the minimum spanning tree of neighbours, weighted by the
    angle between normals: Hoppe et al. (1992), section 3, https://doi.org/10.1145/133994.134011. The tree crosses
    neither sharp edges nor thin parts. Each patch that it spans is then oriented away from its neighbouring points, as
    convex and thin parts are. A patch that is flat within its neighbourhood, or both sides of a sheet thinner than the
    spacing of the points, can be inverted.
    """
    if cloud.normals is not None or len(cloud) < 3:
        return cloud
    points = cloud.points.astype(float)
    neighbours = cKDTree(points).query(points, k=min(VOTERS + 1, len(cloud)))[1]
    close = points[neighbours[:, : NEIGHBOURS + 1]]
    close = close - close.mean(axis=1, keepdims=True)
    normals = np.linalg.eigh(np.einsum("nka,nkb->nab", close, close))[1][:, :, 0]
    away = points - points[neighbours].mean(axis=1)
    signs = _signs(points, normals, neighbours[:, 1 : NEIGHBOURS + 1], votes=(away * normals).sum(axis=1))
    return PointCloud(cloud.points, normals * signs[:, None], cloud.colours)


def _signs(points: np.ndarray, normals: np.ndarray, neighbours: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """The sign of each of ``normals``, ``(N,)``; a positive sum of ``votes`` over a patch keeps its signs."""
    tree = _tree(points, normals, neighbours)
    _, patch = connected_components(tree, directed=False)
    signs = np.ones(len(points))
    for members in np.split(np.argsort(patch, kind="stable"), np.cumsum(np.bincount(patch))[:-1]):
        order, parents = breadth_first_order(tree, members[0], directed=False)
        for child in order[1:]:
            parent = parents[child]
            signs[child] = signs[parent] if normals[child] @ normals[parent] >= 0 else -signs[parent]
        if votes[members] @ signs[members] < 0:
            signs[members] *= -1
    return signs


def _tree(points: np.ndarray, normals: np.ndarray, neighbours: np.ndarray) -> csr_matrix:
    """The minimum spanning forest, ``(N, N)``, of neighbours by the angle between normals."""
    count, rows, columns = len(points), np.repeat(np.arange(len(points)), neighbours.shape[1]), neighbours.ravel()
    edges = points[columns] - points[rows]
    edges /= np.maximum(np.linalg.norm(edges, axis=1, keepdims=True), 1e-12)
    turn = 1 - np.abs((normals[rows] * normals[columns]).sum(axis=1))
    climb = np.abs([(edges * normals[ends]).sum(axis=1) for ends in (rows, columns)]).max(axis=0)
    kept = (turn < TURN) & (climb < CLIMB)
    graph = coo_matrix(((turn + climb + 1e-6)[kept], (rows[kept], columns[kept])), (count, count)).tocsr()
    return minimum_spanning_tree(graph.maximum(graph.T))
