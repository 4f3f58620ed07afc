"""Files of meshes and of points: reading, with the reason if a file cannot be used, and writing of points."""

import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import trimesh

from modalities.shape.cloud import PointCloud
from modalities.shape.metadata import NPZ_KEY, comment
from multidiff.data.files import atomic_path
from multidiff.errors import InputError
from multidiff.modality import File, name_of

MESH_SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl", ".off", ".3mf")
"""Formats that hold meshes; a PLY may hold points alone."""

ARRAY_SUFFIXES = (".npz", ".npy")
"""Formats of NumPy: the arrays ``points``, ``normals`` and ``colours``, or one array of points."""

READ_SUFFIXES = (*MESH_SUFFIXES, *ARRAY_SUFFIXES)

POINT_SUFFIXES = (".ply", ".npz")
"""Formats that points are written in."""

DROPPED = "dropped_faces"
"""Name of the number of degenerate faces in the metadata of a mesh."""


def read_geometry(file: File) -> trimesh.Trimesh | PointCloud:
    """The mesh in a file, its scene flattened with all transforms; or the cloud, if the file holds points alone.

    Degenerate faces are dropped, and counted in the mesh's ``metadata[DROPPED]``. Non-manifold meshes are accepted. An
    open file is read without the further files that it refers to, such as the materials of an OBJ.

    Raises:
        InputError: naming the file, if it is missing, damaged, empty, of zero area, or not finite.
    """
    name = name_of(file)
    suffix = Path(name).suffix.lower()
    try:
        if suffix not in READ_SUFFIXES:
            raise InputError(f"suffix not one of {' '.join(READ_SUFFIXES)}")
        if isinstance(file, Path) and not file.is_file():
            raise InputError("no such file")
        return _read_arrays(file, suffix) if suffix in ARRAY_SUFFIXES else _read_scene(file, suffix)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def checked(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """``mesh`` without its degenerate faces.

    Raises:
        InputError: no face has an area, or a vertex is not finite.
    """
    if not len(mesh.faces):
        raise InputError("a mesh without faces")
    used = mesh.vertices[np.unique(mesh.faces)]
    if not np.isfinite(used).all():
        raise InputError("vertices that are not finite (NaN or infinity)")
    extent = float(np.ptp(used, axis=0).max())
    regular = mesh.area_faces > 1e-12 * extent**2
    if not regular.any():
        raise InputError("a mesh of zero area")
    if not regular.all():
        mesh.update_faces(regular)
        mesh.metadata[DROPPED] = int((~regular).sum())
    return mesh


def sample_surface(mesh: trimesh.Trimesh, count: int, random: np.random.Generator, *, colours: bool) -> PointCloud:
    """``count`` points sampled uniformly by area, with the normals of their faces and, on request, the mesh's colours.

    A mesh without colours is mid grey.
    """
    if count < 1:
        raise InputError(f"a surface is sampled at 1 point or more, not {count}")
    ends = np.cumsum(mesh.area_faces)
    faces = np.searchsorted(ends, random.random(count) * ends[-1], side="right").clip(max=len(ends) - 1)
    weights = barycentric(random.random((count, 2)))
    points = np.einsum("nv,nvd->nd", weights, mesh.triangles[faces])
    return PointCloud(points, mesh.face_normals[faces], _colours(mesh, faces, weights) if colours else None)


def barycentric(uniform: np.ndarray) -> np.ndarray:
    """Uniform numbers ``(N, 2)`` to barycentric coordinates ``(N, 3)``, uniform over a triangle.

    Osada et al. (2002), section 4.1, https://doi.org/10.1145/571647.571648.
    """
    root, second = np.sqrt(uniform[:, :1]), uniform[:, 1:]
    return np.concatenate([1 - root, root * (1 - second), root * second], axis=1)


def write_cloud(cloud: PointCloud, path: Path, metadata: Mapping[str, Any]) -> None:
    """Write points as binary PLY (8-bit colours) or NPZ (all values exactly), with ``metadata`` as JSON inside.

    Raises:
        InputError: another suffix.
    """
    if path.suffix.lower() not in POINT_SUFFIXES:
        raise InputError(f"cannot write points to {path}: its suffix is not one of {' '.join(POINT_SUFFIXES)}")
    with atomic_path(path) as part:
        if path.suffix.lower() == ".npz":
            found: dict[str, Any] = {name: getattr(cloud, name) for name in ("points", "normals", "colours")}
            arrays = {name: values for name, values in found.items() if values is not None}
            arrays[NPZ_KEY] = json.dumps(dict(metadata))
            np.savez(part, **arrays)
        else:
            part.write_bytes(_ply(cloud, metadata))


def _ply(cloud: PointCloud, metadata: Mapping[str, Any]) -> bytes:
    fields = [(name, "<f4", "float") for name in ("x", "y", "z")]
    columns = list(cloud.points.T)
    if cloud.normals is not None:
        fields += [(name, "<f4", "float") for name in ("nx", "ny", "nz")]
        columns += list(cloud.normals.T)
    if cloud.colours is not None:
        fields += [(name, "u1", "uchar") for name in ("red", "green", "blue")]
        columns += list((cloud.colours * 255).round().T)
    table = np.empty(len(cloud), [(name, kind) for name, kind, _ in fields])
    for (name, _, _), column in zip(fields, columns, strict=True):
        table[name] = column
    header = ["ply", "format binary_little_endian 1.0", f"comment {comment(metadata)}", f"element vertex {len(cloud)}"]
    header += [f"property {ply_type} {name}" for name, _, ply_type in fields]
    return "\n".join([*header, "end_header\n"]).encode() + table.tobytes()


def _read_arrays(file: File, suffix: str) -> PointCloud:
    try:
        found = np.load(file, allow_pickle=False)
        if suffix == ".npy":
            return PointCloud(found)
        with found as arrays:
            return PointCloud(arrays["points"], arrays.get("normals"), arrays.get("colours"))
    except InputError:
        raise
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, AttributeError, TypeError) as error:
        wanted = "an NPZ with the array 'points'" if suffix == ".npz" else "an NPY of points (N, 3)"
        raise InputError(f"not {wanted} ({_reason(error)})") from error


class _NoFurtherFiles(dict[str, bytes]):
    """The files beside an open file: none."""

    def __missing__(self, name: str) -> bytes:
        raise FileNotFoundError(f"it refers to {name}, which is not inside it; a GLB holds everything")


def _read_scene(file: File, suffix: str) -> trimesh.Trimesh | PointCloud:
    try:
        if isinstance(file, Path):
            scene = trimesh.load_scene(file, process=False)  # processing would remove NaN without a message
        else:
            content, kind = BytesIO(file.read()), suffix[1:]
            scene = trimesh.load_scene(content, file_type=kind, resolver=_NoFurtherFiles(), process=False)
    except Exception as error:
        raise InputError(f"not a readable {suffix[1:].upper()} ({_reason(error)})") from error
    clouds = [item for item in scene.geometry.values() if isinstance(item, trimesh.PointCloud)]
    if clouds and len(clouds) == len(scene.geometry):
        return _from_trimesh(clouds[0])
    return checked(_flattened(scene))


def _from_trimesh(cloud: trimesh.PointCloud) -> PointCloud:
    """The points that trimesh read; it keeps the normals of a PLY among its raw data."""
    raw = cloud.metadata.get("_ply_raw", {}).get("vertex", {}).get("data")
    normals = None
    if raw is not None and raw.dtype.names and {"nx", "ny", "nz"} <= set(raw.dtype.names):
        normals = np.stack([raw[name].reshape(-1) for name in ("nx", "ny", "nz")], axis=1)
    colours = np.asarray(cloud.colors)[:, :3] / 255 if len(cloud.colors) == len(cloud.vertices) else None
    return PointCloud(cloud.vertices, normals, colours)


def _flattened(scene: trimesh.Scene) -> trimesh.Trimesh:
    meshes = [item for item in scene.dump() if isinstance(item, trimesh.Trimesh) and len(item.faces)]
    if not meshes:
        raise InputError("a scene without a mesh")
    return meshes[0] if len(meshes) == 1 else trimesh.util.concatenate(meshes)


def _colours(mesh: trimesh.Trimesh, faces: np.ndarray, weights: np.ndarray) -> np.ndarray:
    if mesh.visual.kind == "face":
        return mesh.visual.face_colors[faces, :3] / 255
    visual = mesh.visual.to_color() if mesh.visual.kind == "texture" else mesh.visual
    corners = np.asarray(visual.vertex_colors)[mesh.faces[faces], :3] / 255
    return np.einsum("nv,nvd->nd", weights, corners)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
