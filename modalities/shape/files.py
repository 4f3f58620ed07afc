"""Files of meshes and of points: read with a clear word on what is wrong, written with the story of their making."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import trimesh

from modalities.shape.cloud import PointCloud
from multidiff.data.files import atomic_path
from multidiff.errors import InputError

MESH_SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl", ".off", ".3mf")
POINT_SUFFIXES = (".ply", ".npz")
DROPPED = "dropped_faces"
COMMENT = "multidiff "
"""What the line of metadata in a PLY or an OBJ begins with."""


def read_geometry(path: Path) -> trimesh.Trimesh | PointCloud:
    """The mesh of a file, its scene flattened with all transforms; or the cloud, of a file of points.

    Degenerate faces are dropped, and counted in the mesh's ``metadata[DROPPED]``. A non-manifold mesh is fine.

    Raises:
        InputError: naming the file, if it is missing, damaged, empty, of no area, or not finite.
    """
    if path.suffix.lower() == ".npz":
        return _read_npz(path)
    if path.suffix.lower() not in MESH_SUFFIXES:
        raise InputError(f"{path}: suffix not one of {' '.join(dict.fromkeys(MESH_SUFFIXES + POINT_SUFFIXES))}")
    try:
        scene = trimesh.load_scene(path, process=False)  # processing would drop NaN in silence
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except Exception as error:
        raise InputError(f"{path}: not a readable {path.suffix[1:].upper()} ({_reason(error)})") from error
    clouds = [item for item in scene.geometry.values() if isinstance(item, trimesh.PointCloud)]
    try:
        if clouds and len(clouds) == len(scene.geometry):
            return _from_trimesh(clouds[0], path)
        return checked(_flattened(scene))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def checked(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """``mesh`` without its degenerate faces.

    Raises:
        InputError: nothing that has an area is left, or a vertex is not finite.
    """
    if not len(mesh.faces):
        raise InputError("a mesh without faces")
    used = mesh.vertices[np.unique(mesh.faces)]
    if not np.isfinite(used).all():
        raise InputError("vertices that are not finite (NaN or infinity)")
    extent = float(np.ptp(used, axis=0).max())
    whole = mesh.area_faces > 1e-12 * extent**2
    if not whole.any():
        raise InputError("a mesh of zero area")
    if not whole.all():
        mesh.update_faces(whole)
        mesh.metadata[DROPPED] = int((~whole).sum())
    return mesh


def sample_surface(mesh: trimesh.Trimesh, count: int, random: np.random.Generator, *, colours: bool) -> PointCloud:
    """``count`` points spread evenly by area, with the normals of their faces and, if asked, the mesh's colours.

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
    """Uniform numbers ``(N, 2)`` to weights ``(N, 3)`` spread evenly over a triangle.

    Osada et al. (2002), section 4.1, https://doi.org/10.1145/571647.571648.
    """
    root, second = np.sqrt(uniform[:, :1]), uniform[:, 1:]
    return np.concatenate([1 - root, root * (1 - second), root * second], axis=1)


def write_cloud(cloud: PointCloud, path: Path, metadata: Mapping[str, Any]) -> None:
    """Write points as binary PLY (8-bit colours) or NPZ (everything exactly), with ``metadata`` as JSON inside.

    Raises:
        InputError: the suffix is another.
    """
    if path.suffix.lower() not in POINT_SUFFIXES:
        raise InputError(f"cannot write points to {path}: its suffix is not one of {' '.join(POINT_SUFFIXES)}")
    with atomic_path(path) as part:
        if path.suffix.lower() == ".npz":
            arrays = {name: getattr(cloud, name) for name in ("points", "normals", "colours")}
            given = {name: values for name, values in arrays.items() if values is not None}
            np.savez(part, metadata=np.array(json.dumps(dict(metadata))), **given)
        else:
            part.write_bytes(_ply(cloud, metadata))


def comment(metadata: Mapping[str, Any]) -> str:
    """The one line that holds ``metadata`` in a text header."""
    return COMMENT + json.dumps(dict(metadata))


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


def _read_npz(path: Path) -> PointCloud:
    try:
        with np.load(path) as arrays:
            metadata = json.loads(str(arrays["metadata"])) if "metadata" in arrays else {}
            return PointCloud(arrays["points"], arrays.get("normals"), arrays.get("colours"), metadata)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, AttributeError) as error:
        raise InputError(f"{path}: not an NPZ with the array 'points' ({_reason(error)})") from error


def _from_trimesh(cloud: trimesh.PointCloud, path: Path) -> PointCloud:
    """What trimesh read of a file of points; it keeps the normals of a PLY among its raw data."""
    raw = cloud.metadata.get("_ply_raw", {}).get("vertex", {}).get("data")
    normals = None
    if raw is not None and raw.dtype.names and {"nx", "ny", "nz"} <= set(raw.dtype.names):
        normals = np.stack([raw[name].reshape(-1) for name in ("nx", "ny", "nz")], axis=1)
    colours = np.asarray(cloud.colors)[:, :3] / 255 if len(cloud.colors) == len(cloud.vertices) else None
    return PointCloud(cloud.vertices, normals, colours, read_comment(path))


def read_comment(path: Path) -> dict[str, Any]:
    """The metadata in the text header of a PLY or an OBJ; empty for the files of others."""
    with path.open("rb") as file:
        head = file.read(1 << 16)
    for line in head.split(b"\n"):
        _, found, text = line.partition(COMMENT.encode())
        if found:
            try:
                return json.loads(text)
            except ValueError:
                return {}
    return {}


def _flattened(scene: trimesh.Scene) -> trimesh.Trimesh:
    meshes = [item for item in scene.dump() if isinstance(item, trimesh.Trimesh) and len(item.faces)]
    if not meshes:
        raise InputError("a scene with no mesh in it")
    return meshes[0] if len(meshes) == 1 else trimesh.util.concatenate(meshes)


def _colours(mesh: trimesh.Trimesh, faces: np.ndarray, weights: np.ndarray) -> np.ndarray:
    if mesh.visual.kind == "face":
        return mesh.visual.face_colors[faces, :3] / 255
    visual = mesh.visual.to_color() if mesh.visual.kind == "texture" else mesh.visual
    corners = np.asarray(visual.vertex_colors)[mesh.faces[faces], :3] / 255
    return np.einsum("nv,nvd->nd", weights, corners)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
