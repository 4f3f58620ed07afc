"""Scenes that trimesh reads from files, corrected where it reads less than is there."""

from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import trimesh

from modalities.shape import gltf, off, ply, stl
from multidiff.data.files import member
from multidiff.errors import InputError

PREPARED: Mapping[str, Callable[[bytes], bytes]] = {
    ".glb": gltf.prepared,
    ".gltf": gltf.prepared,
    ".off": off.whole,
    ".ply": ply.whole,
    ".stl": stl.whole,
}
"""What is done to the content of files before trimesh reads it, by suffix."""

MOST_REPEATED = 2**24
"""Faces and vertices that a scene may have through the repetition of its meshes."""


def load_scene(content: bytes, suffix: str, path: Path | None) -> trimesh.Scene:
    """The scene in a file, with colours in sRGB.

    Args:
        content: of the file.
        suffix: lower case, with its dot.
        path: of the file, below whose folder it may refer to others; None for an open file, which has no others.

    Raises:
        InputError: the file is truncated.
        Exception: whatever trimesh raises for a damaged file.
    """
    resolver: Any = _NoFurtherFiles() if path is None else _FilesBelow(str(path))
    whole = PREPARED[suffix](content) if suffix in PREPARED else content
    # processing would remove NaN silently
    scene = trimesh.load_scene(BytesIO(whole), file_type=suffix[1:], resolver=resolver, process=False)
    if suffix in (".glb", ".gltf"):
        gltf.colour(scene)
    if suffix == ".off":
        off.colour(scene, content)
    return scene


def flattened(scene: trimesh.Scene) -> trimesh.Trimesh:
    """The meshes of a scene as one, with all transforms.

    Raises:
        InputError: there is none, or they are repeated too often.
    """
    sizes = {name: len(getattr(item, "faces", ())) + len(item.vertices) for name, item in scene.geometry.items()}
    total = sum(sizes[scene.graph.transforms.node_data[node]["geometry"]] for node in scene.graph.nodes_geometry)
    if total > max(MOST_REPEATED, sum(sizes.values())):
        raise InputError(f"repeats its meshes to {total} faces and vertices, more than {MOST_REPEATED}")
    meshes = [item for item in scene.dump() if isinstance(item, trimesh.Trimesh) and len(item.faces)]
    if not meshes:
        raise InputError("a scene without a mesh")
    return meshes[0] if len(meshes) == 1 else trimesh.util.concatenate(meshes)


class _FilesBelow(trimesh.resolvers.FilePathResolver):
    """The files below the folder of a file."""

    def get(self, name: str) -> bytes:
        path = member(Path(self.parent), name.strip())
        if not path.is_file():
            raise FileNotFoundError(f"it refers to {name}, which is missing")
        return path.read_bytes()


class _NoFurtherFiles(dict[str, bytes]):
    """The files beside an open file: none."""

    def __missing__(self, name: str) -> bytes:
        raise FileNotFoundError(f"it refers to {name}, which is not inside it; a GLB holds everything")
