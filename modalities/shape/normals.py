"""Normals for points that have none."""

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree
from scipy.spatial import cKDTree

from modalities.shape.cloud import PointCloud

NEIGHBOURS = 12


def oriented(cloud: PointCloud) -> PointCloud:
    """``cloud`` with outward normals, estimated if it has none.

    Directions by principal components; signs carried along the tree of neighbours that turn least, and outward at the
    farthest point of each part. Hoppe et al. (1992), section 3, https://doi.org/10.1145/133994.134011. Parts thinner
    than the spacing of the points can come out inverted.
    """
    if cloud.normals is not None or len(cloud) < 3:
        return cloud
    count = min(NEIGHBOURS, len(cloud) - 1)
    distances, neighbours = cKDTree(cloud.points).query(cloud.points, k=count + 1)
    near = cloud.points[neighbours].astype(float)
    near -= near.mean(axis=1, keepdims=True)
    normals = np.linalg.eigh(np.einsum("nka,nkb->nab", near, near))[1][:, :, 0]
    signs = _signs(cloud.points, normals, neighbours[:, 1:], distances[:, 1:])
    return PointCloud(cloud.points, normals * signs[:, None], cloud.colours, cloud.metadata)


def _signs(points: np.ndarray, normals: np.ndarray, neighbours: np.ndarray, distances: np.ndarray) -> np.ndarray:
    count = len(points)
    rows, columns = np.repeat(np.arange(count), neighbours.shape[1]), neighbours.ravel()
    turn = 1 - np.abs((normals[rows] * normals[columns]).sum(axis=1))
    cost = turn + 0.1 * distances.ravel() / distances.mean() + 1e-6
    graph = coo_matrix((cost, (rows, columns)), (count, count)).tocsr()
    tree = minimum_spanning_tree(graph.maximum(graph.T))
    parts, part = connected_components(tree, directed=False)
    signs = np.ones(count)
    for i in range(parts):
        members = np.flatnonzero(part == i)
        outwards = points[members] - points[members].mean(axis=0)
        root = members[np.argmax(np.linalg.norm(outwards, axis=1))]
        signs[root] = np.sign((points[root] - points[members].mean(axis=0)) @ normals[root]) or 1
        order, parents = breadth_first_order(tree, root, directed=False)
        for child in order[1:]:
            parent = parents[child]
            agrees = normals[child] @ normals[parent] >= 0
            signs[child] = signs[parent] if agrees else -signs[parent]
    return signs
