"""Mesh files: written with the story of their making where the format has a place, and reported on."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from trimesh.exchange.gltf import export_glb
from trimesh.exchange.obj import export_obj
from trimesh.exchange.ply import export_ply
from trimesh.exchange.stl import export_stl
from trimesh.exchange.threemf import export_3MF

from modalities.shape.cloud import PointCloud, to_up
from modalities.shape.files import POINT_SUFFIXES, comment, write_cloud
from modalities.shape.surface import Reconstruction
from multidiff.data.files import atomic_path
from multidiff.errors import InputError

WRITTEN = (".glb", ".obj", ".ply", ".stl", ".3mf")
"""The formats that meshes are written in."""

COLOURLESS = (".stl", ".3mf")
"""Formats, or trimesh's writers of them, that drop colours."""

SILENT = (".stl", ".3mf")
"""Formats with no place, or none that trimesh fills, for metadata."""

UNITS = {"m": 1.0, "cm": 100.0, "mm": 1000.0, "in": 1 / 0.0254}
"""How many of a unit make a metre."""


@dataclass(frozen=True)
class Export:
    """How shapes leave for other programs.

    Attributes:
        resolution: voxels a side of the surface.
        faces: at most so many; None for as many as there are.
        size: metres along the longest side; None keeps the scale of the model.
        units: that the numbers in the file are in: m, cm, mm or in.
        up: the axis that points up: "y", as glTF has it, or "z", as printers and Blender have it.
        points: write the points themselves, as PLY or NPZ.

    Raises:
        InputError: a value that cannot be used.
    """

    resolution: int = 128
    faces: int | None = None
    size: float | None = None
    units: str = "m"
    up: str = "y"
    points: bool = False

    def __post_init__(self) -> None:
        if self.units not in UNITS:
            raise InputError(f"units are one of {', '.join(UNITS)}, not {self.units!r}")
        if self.size is not None and not 0 < self.size < math.inf:
            raise InputError(f"the size of a shape is a length above 0, not {self.size}")
        to_up(self.up)
        Reconstruction(self.resolution, faces=self.faces)

    def check(self, suffix: str) -> None:
        """Refuse a suffix that is not written."""
        suffixes = POINT_SUFFIXES if self.points else WRITTEN
        if suffix not in suffixes:
            kind, other = ("points", " (without --points, the mesh)") if self.points else ("meshes", "")
            raise InputError(f"{kind} are not written as {suffix}; they are as {', '.join(suffixes)}{other}")

    def write(self, cloud: PointCloud, path: Path, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Write ``cloud`` to ``path``, as points or as the mesh through them, and report what was written."""
        self.check(path.suffix.lower())
        story = {**metadata, "units": self.units, "up": self.up}
        if self.points:
            normals = None if cloud.normals is None else cloud.normals @ to_up(self.up).T
            write_cloud(PointCloud(self._placed(cloud.points), normals, cloud.colours), path, story)
            return {"file": path.name, "points": len(cloud), "dropped": []}
        mesh = Reconstruction(self.resolution, faces=self.faces).mesh(cloud)
        mesh.vertices = self._placed(mesh.vertices)
        write_mesh(mesh, path, story)
        return {"file": path.name, **report(mesh, path.suffix.lower())}

    def _placed(self, points: np.ndarray) -> np.ndarray:
        """``(N, 3)`` in the size, the units and with the axis up that were asked for."""
        longest = float(np.ptp(points, axis=0).max())
        scale = UNITS[self.units] * (1.0 if self.size is None else self.size / longest)
        return points @ (scale * to_up(self.up)).T


def report(mesh: trimesh.Trimesh, suffix: str) -> dict[str, Any]:
    """Numbers by which a mesh is judged, and what a format drops of it. The volume is in cubed units of the file."""
    dropped = ["colours"] if suffix in COLOURLESS and mesh.visual.defined else []
    return {
        "vertices": len(mesh.vertices),
        "faces": len(mesh.faces),
        "watertight": bool(mesh.is_watertight),
        "volume": float(mesh.volume),
        "parts": int(mesh.body_count),
        "dropped": [*dropped, *(["metadata"] if suffix in SILENT else [])],
    }


def write_mesh(mesh: trimesh.Trimesh, path: Path, metadata: Mapping[str, Any]) -> None:
    """Write ``mesh`` in the format of the suffix of ``path``, all at once or not at all.

    ``metadata`` goes in as JSON: in GLB as extras of the scene, in OBJ and PLY as a comment.

    Raises:
        InputError: no such format is written, or it needs a package that is missing.
    """
    suffix = path.suffix.lower()
    if suffix not in WRITTEN:
        raise InputError(f"cannot write a mesh to {path}: its suffix is not one of {' '.join(WRITTEN)}")
    try:
        content = _encoded(mesh, suffix, metadata)
    except ImportError as error:
        raise InputError(f"{suffix} needs a package more: pip install 'multidiff-toolkit[mesh]' ({error})") from error
    with atomic_path(path) as part:
        part.write_bytes(content)


def _encoded(mesh: trimesh.Trimesh, suffix: str, metadata: Mapping[str, Any]) -> bytes:
    if suffix == ".glb":
        scene = trimesh.Scene({"shape": mesh})
        scene.metadata["multidiff"] = json.loads(json.dumps(dict(metadata)))
        return export_glb(scene, include_normals=True)
    if suffix == ".obj":
        return export_obj(mesh, header=comment(metadata)).encode()
    if suffix == ".ply":
        start, end = b"format binary_little_endian 1.0\n", b"comment " + comment(metadata).encode() + b"\n"
        return export_ply(mesh, vertex_normal=False).replace(start, start + end, 1)
    if suffix == ".stl":
        return export_stl(mesh)
    return export_3MF(mesh)
