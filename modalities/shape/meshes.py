"""Export of shapes: mesh files, with metadata inside where the format has a place for it, and a report of each."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from trimesh.exchange.gltf import export_glb
from trimesh.exchange.obj import export_obj
from trimesh.exchange.ply import export_ply
from trimesh.exchange.stl import export_stl

from modalities.shape import gltf
from modalities.shape.cloud import PointCloud, to_up
from modalities.shape.files import POINT_SUFFIXES, write_cloud
from modalities.shape.mesh_surface import mesh_of
from modalities.shape.metadata import KEY, comment
from modalities.shape.surface import Reconstruction
from modalities.shape.threemf import export_3mf
from multidiff.configuration import construct
from multidiff.data.files import new_file
from multidiff.errors import InputError

WRITTEN = (".glb", ".obj", ".ply", ".stl", ".3mf")
"""Formats that meshes are written in."""

COLOURLESS = (".stl", ".3mf")
"""Formats that are written without colours."""

SILENT = (".stl", ".3mf")
"""Formats that are written without metadata."""

UNITS = {"m": 1.0, "cm": 100.0, "mm": 1000.0, "in": 1 / 0.0254}
"""Length of a metre in each unit."""


@dataclass(frozen=True)
class Export:
    """Settings of an export.

    Attributes:
        resolution: voxels along a side of the grid that the surface is reconstructed on, if it is one of points.
        faces: the most faces of a mesh; None for no limit.
        size: metres along the longest side; None keeps the scale of the model.
        units: of the numbers in the file: m, cm, mm or in.
        up: the axis that points up: "y", as in glTF, or "z", as in 3D printing and Blender.
        points: write the points as PLY or NPZ, without a mesh.

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
            raise InputError(f"size is a length above 0, in metres, not {self.size}")
        to_up(self.up)
        Reconstruction(self.resolution, faces=self.faces)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Export":
        """The export with these settings.

        Raises:
            InputError: a setting is unknown, of a wrong type, or cannot be used.
        """
        known = [field.name for field in fields(cls)]
        unknown = [name for name in settings if name not in known]
        if unknown:
            raise InputError(f"{', '.join(unknown)}: not an export setting of shapes; there are: {', '.join(known)}")
        return construct(cls, settings)

    def check(self, suffix: str) -> None:
        """Refuse a suffix that is not written."""
        kind, suffixes = ("points", POINT_SUFFIXES) if self.points else ("meshes", WRITTEN)
        if suffix not in suffixes:
            hint = "without points=true, meshes are written" if self.points else "points=true writes .ply and .npz"
            raise InputError(f"{kind} cannot be written as {suffix}; supported: {', '.join(suffixes)}; {hint}")

    def write(self, cloud: PointCloud, path: Path, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Write the points of ``cloud``, or the mesh reconstructed from them, and return a report of the file."""
        self.check(path.suffix.lower())
        metadata = {**metadata, "units": self.units, "up": self.up}
        if self.points:
            normals = None if cloud.normals is None else cloud.normals @ to_up(self.up).T
            write_cloud(PointCloud(self._placed(cloud.points), normals, cloud.colours), path, metadata)
            return {"file": path.name, "points": len(cloud), "dropped": []}
        mesh = mesh_of(cloud, Reconstruction(self.resolution, faces=self.faces))
        mesh.vertices = self._placed(mesh.vertices)
        write_mesh(mesh, path, metadata)
        return {"file": path.name, **report(mesh, path.suffix.lower())}

    def _placed(self, points: np.ndarray) -> np.ndarray:
        """``(N, 3)`` in the requested size and units, with the requested axis up."""
        longest = float(np.ptp(points, axis=0).max())
        scale = UNITS[self.units] * (1.0 if self.size is None else self.size / longest)
        return points @ (scale * to_up(self.up)).T


def report(mesh: trimesh.Trimesh, suffix: str) -> dict[str, Any]:
    """Properties of a mesh, and what the format of the file loses. The volume is in cubed units of the file."""
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
    """Write ``mesh`` in the format of the suffix of ``path``; a failure leaves no file.

    ``metadata`` is written as JSON: in GLB as extras of the scene, in OBJ and PLY as a comment.

    Raises:
        InputError: the format is not written.
    """
    suffix = path.suffix.lower()
    if suffix not in WRITTEN:
        raise InputError(f"cannot write a mesh to {path}: its suffix is not one of {' '.join(WRITTEN)}")
    content = _encoded(mesh, suffix, metadata)
    with new_file(path) as part:
        part.write_bytes(content)


def _encoded(mesh: trimesh.Trimesh, suffix: str, metadata: Mapping[str, Any]) -> bytes:
    if suffix == ".glb":
        scene = trimesh.Scene({"shape": gltf.exported(mesh)})
        scene.metadata[KEY] = json.loads(json.dumps(dict(metadata)))
        return export_glb(scene, include_normals=True, tree_postprocessor=gltf.name_colours)
    if suffix == ".obj":
        return export_obj(mesh, header=comment(metadata)).encode()
    if suffix == ".ply":
        start, end = b"format binary_little_endian 1.0\n", b"comment " + comment(metadata).encode() + b"\n"
        return export_ply(mesh, vertex_normal=False).replace(start, start + end, 1)
    if suffix == ".stl":
        return export_stl(mesh)
    return export_3mf(mesh, metadata.get("units", "m"))
