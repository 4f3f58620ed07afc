"""Reconstruction of held-out furniture by a codec of shapes, beside Poisson reconstruction from the same points.

For each shape: the F-score at 1 % (fractions of the two surfaces within 1 % of the longest side of each other, harmonic
mean, 30,000 points of each), whether the mesh is watertight, its roughness away from the true edges in degrees (see
modalities/shape/mesh_scores.py), and the seconds that it took. The methods are

    true       the mesh itself
    volume     its exact signed distances on the grid: what the resolution allows
    codec      the points, encoded and decoded; its mesh is smoothed, as for users, or not
    poisson    this package's reconstruction from the same points and normals

    multidiff train experiment=codec/furniture run_dir=CODEC
    nice -n 5 python benchmarks/shape_codec.py CODEC --json shape_codec.json

``--meshes FILE ...`` takes closed meshes in place of furniture. ``--generated RUN ...`` adds trained diffusion models,
of latents or of points: the share of watertight meshes, and the roughness without a truth, beside that of as many real
shapes of the same classes.
"""

import argparse
import json
import os
import platform
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh

from modalities.shape.distance_data import normalised
from modalities.shape.distances import signed_distances, united
from modalities.shape.files import read_geometry, sample_surface
from modalities.shape.furniture import LABELS, make
from modalities.shape.mesh_scores import roughness, surface_f_score
from modalities.shape.mesh_surface import decoded_mesh, mesh_of
from modalities.shape.solids import union
from modalities.shape.surface import Reconstruction
from modalities.shape.volume import evaluate, to_mesh
from multidiff import load
from multidiff.codecs.directory import codec_hash, find_codec, load_codec
from multidiff.errors import InputError

HELD_OUT = 1_000_000
"""Number of the first furniture that no training takes."""


def furniture(count: int) -> dict[str, trimesh.Trimesh]:
    pieces = {}
    for i in range(count):
        label, random = LABELS[i % len(LABELS)], np.random.default_rng((0, HELD_OUT + i))
        pieces[f"{label} {i}"] = normalised(union(make(label, random).parts), "bounding_box")
    return pieces


def methods(true: trimesh.Trimesh, network: Any, resolution: int) -> dict[str, Any]:
    cloud = sample_surface(true, network.encoder.points, np.random.default_rng(1), colours=False)
    data = torch.from_numpy(np.ascontiguousarray(cloud.rows(6).T))[None]
    truncation = network.decoder.truncation

    def exact(points: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(signed_distances(true, points.numpy())).clamp(-truncation, truncation)

    def decoded() -> np.ndarray:
        return network.decode(network.encode(data))[0, 0].numpy()

    return {
        "true": lambda: true,
        "volume": lambda: to_mesh(evaluate(exact, resolution, truncation, torch.zeros(())).numpy()),
        "codec": lambda: decoded_mesh(decoded()),
        "codec, not smoothed": lambda: to_mesh(decoded()),
        "poisson": lambda: Reconstruction(resolution).mesh(cloud),
    }


def scored(make_mesh: Any, true: trimesh.Trimesh) -> dict[str, float]:
    began = time.perf_counter()
    try:
        mesh = make_mesh()
    except InputError:
        return {"f_score": 0.0, "watertight": 0.0, "failed": 1.0}
    took = time.perf_counter() - began
    return {
        "f_score": surface_f_score(mesh, true),
        "watertight": float(mesh.is_watertight),
        "roughness": roughness(mesh, true),
        "seconds": took,
        "failed": 0.0,
    }


def generated(path: str, count: int) -> dict[str, float]:
    pipeline, rough, closed = load(path), [], []
    field = "label" if "label" in pipeline.model.conditioner.reads else "prompt"
    for i, shape in enumerate(pipeline.sample(count, **{field: list(LABELS)[:count]})):
        try:
            mesh = mesh_of(shape, Reconstruction())
        except InputError as error:
            print(f"{path}: sample {i}: {error}")
            closed.append(False)
            continue
        closed.append(bool(mesh.is_watertight))
        rough.append(roughness(mesh))
    return {"watertight": float(np.mean(closed)), "roughness": float(np.nanmean(rough))}


def means(rows: list[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: float(np.nanmean([row[name] for row in rows if name in row])) for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("codec", help="run or model directory of a codec of shapes")
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--resolution", type=int, help="nodes along a side; by default that of the codec")
    parser.add_argument("--meshes", type=Path, nargs="*", default=[])
    parser.add_argument("--generated", nargs="*", default=[])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    directory = find_codec(options.codec)
    network: Any = load_codec(directory, codec_hash(directory)).network
    resolution = options.resolution or network.decoder.resolution
    network.decoder.resolution = resolution
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    versions = {"torch": torch.__version__, "threads": torch.get_num_threads(), "trimesh": trimesh.__version__}
    print(machine, versions, f"resolution {resolution}, {network.encoder.points} points")
    read = {path.stem: normalised(united(read_geometry(path)), "bounding_box") for path in options.meshes}
    results: dict[str, list[dict[str, float]]] = defaultdict(list)
    for name, true in (read or furniture(options.count)).items():
        for method, make_mesh in methods(true, network, resolution).items():
            results[method].append(scored(make_mesh, true))
            print(f"{name:12} {method:20} {results[method][-1]}", flush=True)
    report: dict[str, Any] = {method: means(rows) for method, rows in results.items()}
    report |= {path: generated(path, options.count) for path in options.generated}
    real = [roughness(mesh) for mesh in (read or furniture(options.count)).values()]
    report["real, without a truth"] = {"roughness": float(np.mean(real))}
    for method, values in report.items():
        print(f"{method:24} " + "  ".join(f"{name} {value:.4f}" for name, value in values.items()))
    if options.json:
        written = {"machine": machine, "versions": versions, "means": report, "rows": results}
        options.json.write_text(json.dumps(written, indent=2))


if __name__ == "__main__":
    main()
