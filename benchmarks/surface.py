"""Surface reconstruction from exact oriented points beside gpytoolbox's screened Poisson, in one run.

Both methods get the same points with the true normals of a known mesh. The score is the F-score at 1 %: the harmonic
mean of the fractions of the reconstructed and of the true surface that lie within 1 % of the longest side of the other,
measured on 30,000 points of each. Run it on an idle machine:

    pip install -e '.[bench]'
    python benchmarks/surface.py --json surface.json

The meshes are a sphere, a torus and three pieces of furniture; ``--meshes FILE ...`` replaces the furniture. No
dependency ships a scanned mesh. The peer runs with its defaults except for the depth.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gpytoolbox
import numpy as np
import torch
import trimesh
from scipy.spatial import cKDTree

from modalities.shape.cloud import PointCloud
from modalities.shape.files import read_geometry, sample_surface
from modalities.shape.furniture import make
from modalities.shape.mesh_scores import JUDGED, NEAR, f_score
from modalities.shape.solids import union
from modalities.shape.surface import Reconstruction

Method = Callable[[PointCloud], trimesh.Trimesh]


def multidiff(resolution: int) -> Method:
    return Reconstruction(resolution).mesh


def screened_poisson(depth: int) -> Method:
    """Kazhdan's implementation in gpytoolbox, at ``2 ** depth`` voxels along a side."""

    def mesh(cloud: PointCloud) -> trimesh.Trimesh:
        points, normals = cloud.points.astype(np.float64), np.asarray(cloud.normals, dtype=np.float64)
        vertices, faces = gpytoolbox.point_cloud_to_mesh(points, normals, method="PSR", psr_depth=depth)
        return trimesh.Trimesh(vertices, faces)

    return mesh


def surface_f_score(reconstructed: trimesh.Trimesh, true: trimesh.Trimesh) -> float:
    random = np.random.default_rng(1)
    points = [sample_surface(mesh, JUDGED, random, colours=False).points for mesh in (reconstructed, true)]
    distances = (cKDTree(b).query(a)[0] for a, b in (points, points[::-1]))
    return f_score(*distances, NEAR * float(true.extents.max()))


def shapes(files: list[Path]) -> dict[str, trimesh.Trimesh]:
    known = {"sphere": trimesh.creation.icosphere(5), "torus": trimesh.creation.torus(1, 0.3, 128, 64)}
    if files:
        return known | {path.stem: read_geometry(path) for path in files}
    furniture = ("chair", "mug", "sofa")
    return known | {label: union(make(label, np.random.default_rng(7)).parts) for label in furniture}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=4096)
    parser.add_argument("--depth", type=int, default=7, help="log2 of the voxels along a side, of both methods")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--meshes", type=Path, nargs="*", default=[])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    methods = {"multidiff": multidiff(2**options.depth), "gpytoolbox": screened_poisson(options.depth)}
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    versions = {"torch": torch.__version__, "threads": torch.get_num_threads(), "gpytoolbox": gpytoolbox.__version__}
    print(machine, versions, f"{options.points} points, {2**options.depth} voxels along a side")
    results: list[dict[str, Any]] = []
    for name, true in shapes(options.meshes).items():
        cloud = sample_surface(true, options.points, np.random.default_rng(0), colours=False)
        seconds: dict[str, list[float]] = {method: [] for method in methods}
        meshes: dict[str, trimesh.Trimesh] = {}
        for _ in range(options.rounds):
            for method, reconstruct in methods.items():
                began = time.perf_counter()
                meshes[method] = reconstruct(cloud)
                seconds[method].append(time.perf_counter() - began)
        for method, mesh in meshes.items():
            score, took = surface_f_score(mesh, true), float(np.median(seconds[method]))
            closed = bool(mesh.is_watertight)
            results.append({"mesh": name, "method": method, "f_score": score, "seconds": took, "watertight": closed})
            print(f"{name:8} {method:10} F-score at 1 % {score:.4f}  {took:6.2f} s  watertight {closed}", flush=True)
    if options.json:
        report = {"machine": machine, "versions": versions, "points": options.points, "results": results}
        options.json.write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
