"""Files of meshes and of points: reading, with the reason if a file cannot be used, and writing of points."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import trimesh

from modalities.shape.arrays import read_npy, read_npz
from modalities.shape.cloud import PointCloud
from modalities.shape.metadata import NPZ_KEY, comment
from modalities.shape.scenes import flattened, load_scene
from modalities.shape.winding import turn_outwards
from multidiff.data.files import new_file
from multidiff.errors import InputError
from multidiff.modality import File, name_of

MESH_SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl", ".off", ".3mf")
"""Formats that hold meshes; a PLY may hold points alone."""

ARRAY_SUFFIXES = (".npz", ".npy")
"""Formats of NumPy: the arrays ``points``, ``normals`` and ``colours``, or one array of points."""

READ_SUFFIXES = (*MESH_SUFFIXES, *ARRAY_SUFFIXES)

POINT_SUFFIXES = (".ply", ".npz")
"""Formats that points are written in."""

LARGEST = 2**30
"""Bytes that a compressed file may unpack to."""

FAR = 10.0
"""Distance from the origin, in sizes of the geometry, beyond which float32 would round it visibly."""

DROPPED = "dropped_faces"
"""Name of the number of degenerate faces in the metadata of a mesh."""


def read_geometry(file: File, *, recentre: bool = False) -> trimesh.Trimesh | PointCloud:
    """The mesh in a file, its scene flattened with all transforms; or the cloud, if the file holds points alone.

    Degenerate faces are dropped, and counted in the mesh's ``metadata[DROPPED]``. Closed bodies that are inside out
    are turned: see `turn_outwards`. Non-manifold meshes are accepted. An open file is read without the further files
    that it refers to, such as the materials of an OBJ; a path with those below its folder.

    Args:
        file: a path or an open file.
        recentre: move geometry far from the origin to it, in double precision, before anything is rounded to float32.

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
        return _read_arrays(file, suffix, recentre) if suffix in ARRAY_SUFFIXES else _read_scene(file, suffix, recentre)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    except Exception as error:  # trimesh and NumPy raise whatever a damaged file leads them to
        wanted = {".npz": "an NPZ with the array 'points'", ".npy": "an NPY of points (N, 3)"}
        kind = wanted.get(suffix, f"a readable {suffix[1:].upper()}")
        raise InputError(f"{name}: not {kind} ({_reason(error)})") from error


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
    mesh.metadata[DROPPED] = int((~regular).sum())
    if not regular.all():
        mesh.update_faces(regular)
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
    with new_file(path) as part:
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


def _read_arrays(file: File, suffix: str, recentre: bool) -> PointCloud:
    _check_unpacked_size(file)
    if suffix == ".npy":
        points = read_npy(file.read_bytes() if isinstance(file, Path) else file.read())
        return PointCloud(_near_origin(points) if recentre else points)
    arrays = read_npz(file, ("points", "normals", "colours"))
    points = _near_origin(arrays["points"]) if recentre else arrays["points"]
    return PointCloud(points, arrays.get("normals"), arrays.get("colours"))


def _check_unpacked_size(file: File) -> None:
    """Refuse a zip, as NPZ and 3MF are, that would unpack to more than `LARGEST` bytes."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            size = sum(item.file_size for item in archive.infolist())
        if size > LARGEST:
            raise InputError(f"unpacks to {size / 2**30:.1f} GB, more than {LARGEST / 2**30:.0f}")
    if not isinstance(file, Path):
        file.seek(0)


def _near_origin(points: np.ndarray) -> np.ndarray:
    """``points``, ``(N, 3)``, minus their centre if they lie far from the origin for their size."""
    values = np.asarray(points, dtype=np.float64)
    centre = (values.min(axis=0) + values.max(axis=0)) / 2
    far = np.abs(centre).max() > FAR * np.ptp(values, axis=0).max()
    return values - centre if far else points


def _read_scene(file: File, suffix: str, recentre: bool) -> trimesh.Trimesh | PointCloud:
    _check_unpacked_size(file)
    content = file.read_bytes() if isinstance(file, Path) else file.read()
    scene = load_scene(content, suffix, file if isinstance(file, Path) else None)
    clouds = [item for item in scene.geometry.values() if isinstance(item, trimesh.PointCloud)]
    if clouds and len(clouds) == len(scene.geometry):
        return _from_trimesh(clouds[0], recentre)
    mesh = checked(flattened(scene))
    turn_outwards(mesh)
    if recentre:
        mesh.vertices = _near_origin(mesh.vertices)
    return mesh


def _from_trimesh(cloud: trimesh.PointCloud, recentre: bool) -> PointCloud:
    """The points that trimesh read; it keeps the normals of a PLY among its raw data: a table, or a mapping."""
    raw = cloud.metadata.get("_ply_raw", {}).get("vertex", {}).get("data", {})
    names = (raw.keys() if isinstance(raw, dict) else raw.dtype.names) or ()
    normals = None
    if {"nx", "ny", "nz"} <= set(names):
        normals = np.stack([np.asarray(raw[name]).reshape(-1) for name in ("nx", "ny", "nz")], axis=1)
    colours = np.asarray(cloud.colors)[:, :3] / 255 if len(cloud.colors) == len(cloud.vertices) else None
    return PointCloud(_near_origin(cloud.vertices) if recentre else cloud.vertices, normals, colours)


def _colours(mesh: trimesh.Trimesh, faces: np.ndarray, weights: np.ndarray) -> np.ndarray:
    if mesh.visual.kind == "face":
        return mesh.visual.face_colors[faces, :3] / 255
    visual = mesh.visual
    if visual.kind == "texture":
        images = (getattr(visual.material, name, None) for name in ("image", "baseColorTexture"))
        if all(image is None for image in images):
            colour = np.asarray(visual.material.main_color)[:3] / 255  # its texture is missing
            return np.tile(colour, (len(faces), 1))
        if visual.uv is not None:
            places = np.einsum("nv,nvd->nd", weights, visual.uv[mesh.faces[faces]])
            return visual.material.to_color(places)[:, :3] / 255
        visual = visual.to_color()
    corners = np.asarray(visual.vertex_colors)[mesh.faces[faces], :3] / 255
    return np.einsum("nv,nvd->nd", weights, corners)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
