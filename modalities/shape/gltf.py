"""Colours of glTF files, which are linear, as the sRGB colours that MultiDiff and the other formats of meshes hold.

Vertex colours and factors are linear and multiply each other and the texture, which is sRGB: sections 3.7.2.1 and 3.9.2
of https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html. trimesh rounds factors to 8 bits and takes colours of 16
bits modulo 256, so the factors become sRGB before it reads a file, and the vertex colours pass as custom attributes.
"""

import json
import struct
from typing import Any

import numpy as np
import trimesh

from modalities.shape.metadata import KEY, scene_extras
from modalities.shape.sizes import check_claim

LINEAR, SRGB = "_LINEAR_COLOUR", "_SRGB_COLOUR"
"""Custom attributes that hold vertex colours while trimesh reads or writes a file."""

UNSIGNED_BYTE, UNSIGNED_SHORT = 5121, 5123
"""Types of the components of an accessor."""

MOST = 2**24
"""The most values of an accessor without data."""

POINTS = 0
"""Mode of a primitive without faces."""


def to_srgb(linear: np.ndarray) -> np.ndarray:
    """Linear colours from 0 to 1 in sRGB: IEC 61966-2-1."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)


def to_linear(srgb: np.ndarray) -> np.ndarray:
    """The inverse of `to_srgb`."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def prepared(content: bytes) -> bytes:
    """A GLB or glTF with factors in sRGB, and with vertex colours as the attribute `LINEAR` or `SRGB`."""
    if not content.startswith(b"glTF"):
        return json.dumps(_prepared(json.loads(content))).encode()
    magic, version, _, length, kind = struct.unpack_from("<4s4sI I4s", content)
    text = json.dumps(_prepared(json.loads(content[20 : 20 + length]))).encode()
    text += b" " * (-len(text) % 4)
    rest = content[20 + length :]
    return struct.pack("<4s4sI I4s", magic, version, 20 + len(text) + len(rest), len(text), kind) + text + rest


def colour(scene: trimesh.Scene) -> None:
    """Give every geometry of a scene read from a `prepared` file its colours in sRGB."""
    for item in scene.geometry.values():
        if isinstance(item, trimesh.PointCloud) and len(item.colors) == len(item.vertices):
            item.colors = _bytes(to_srgb(item.colors[:, :3] / 255))
        elif isinstance(item, trimesh.Trimesh) and (factors := _factors(_baked(item))):
            colours = np.broadcast_to(np.prod(np.broadcast_arrays(*factors), axis=0), (len(item.vertices), 3))
            item.visual = trimesh.visual.ColorVisuals(item, vertex_colors=_bytes(to_srgb(colours.clip(0, 1))))
        if isinstance(item, trimesh.Trimesh):
            item.vertex_attributes.clear()


def exported(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """``mesh`` with its colours as the attribute `LINEAR`, in floats, since 8 linear bits would merge dark colours."""
    if not mesh.visual.defined:
        return mesh
    copy = mesh.copy()
    copy.visual = trimesh.visual.ColorVisuals()
    copy.vertex_attributes[LINEAR] = to_linear(mesh.visual.vertex_colors[:, :3] / 255).astype(np.float32)
    return copy


def name_colours(tree: dict[str, Any]) -> None:
    """Turn the attribute of `exported` into vertex colours, in the JSON of a glTF."""
    for mesh in tree["meshes"]:
        for primitive in mesh["primitives"]:
            attributes = primitive["attributes"]
            if LINEAR in attributes:
                attributes["COLOR_0"] = attributes.pop(LINEAR)


def _prepared(tree: dict[str, Any]) -> dict[str, Any]:
    _check_empty_accessors(tree)
    ours = KEY in scene_extras(tree)
    for mesh in tree.get("meshes", []):
        for primitive in mesh["primitives"]:
            attributes = primitive["attributes"]
            if "COLOR_0" not in attributes:
                continue
            kind = tree["accessors"][attributes["COLOR_0"]]["componentType"]
            if primitive.get("mode") != POINTS:
                _rename(primitive, SRGB if ours and kind == UNSIGNED_BYTE else LINEAR)
            elif kind == UNSIGNED_SHORT:
                del attributes["COLOR_0"]  # the points of trimesh have no custom attributes
    for material in tree.get("materials", []):
        surface = material.get("pbrMetallicRoughness", {})
        if "baseColorFactor" in surface:
            *colours, alpha = surface["baseColorFactor"]
            surface["baseColorFactor"] = [*to_srgb(np.array(colours, dtype=float)).tolist(), alpha]
    return tree


def _check_empty_accessors(tree: dict[str, Any]) -> None:
    """Refuse accessors without data, which are zeros until an extension fills them, of more values than bytes exist."""
    total = min(sum(buffer["byteLength"] for buffer in tree.get("buffers", [])), MOST)
    for accessor in tree.get("accessors", []):
        if "bufferView" not in accessor:
            check_claim(accessor["count"], total, "values of an accessor")


def _rename(primitive: dict[str, Any], name: str) -> None:
    """Move the vertex colours to the attribute ``name``, also within the extensions that compress attributes."""
    for holder in (primitive, *primitive.get("extensions", {}).values()):
        if "COLOR_0" in holder.get("attributes", {}):
            holder["attributes"][name] = holder["attributes"].pop("COLOR_0")


def _baked(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """``mesh``, whose texture is multiplied with the factor of its material, unless its vertices have colours."""
    coloured = any(_vertex_colours(mesh, name) is not None for name in (LINEAR, SRGB))
    if coloured or mesh.visual.kind != "texture" or mesh.visual.uv is None:
        return mesh
    material = mesh.visual.material
    if material.baseColorFactor is not None and material.baseColorTexture is not None:
        levels = to_linear(np.arange(256) / 255) * to_linear(material.baseColorFactor[:3, None] / 255)
        table = _bytes(to_srgb(levels)).flatten().tolist()
        material.baseColorTexture = material.baseColorTexture.convert("RGB").point(table)
        material.baseColorFactor = None
    return mesh


def _factors(mesh: trimesh.Trimesh) -> list[np.ndarray]:
    """The linear colours that multiply each other; none where trimesh reads the colour rightly."""
    found = [colours for name in (LINEAR, SRGB) if (colours := _vertex_colours(mesh, name)) is not None]
    if mesh.visual.kind != "texture":
        return found
    material = mesh.visual.material
    if material.baseColorFactor is not None and (material.baseColorFactor[:3] < 255).any():
        found.append(to_linear(material.baseColorFactor[None, :3] / 255))
    if found and material.baseColorTexture is not None and mesh.visual.uv is not None:
        found.append(to_linear(mesh.visual.to_color().vertex_colors[:, :3] / 255))
    return found


def _vertex_colours(mesh: trimesh.Trimesh, name: str) -> np.ndarray | None:
    """The linear colours in an attribute, ``(N, 3)``, or None."""
    values = mesh.vertex_attributes.get(name)
    if values is None or values.shape not in ((len(mesh.vertices), 3), (len(mesh.vertices), 4)):
        return None
    scale = np.iinfo(values.dtype).max if values.dtype.kind == "u" else 1
    colours = np.nan_to_num(np.asarray(values[:, :3], dtype=float) / scale).clip(0, 1)
    return to_linear(colours) if name == SRGB else colours


def _bytes(colours: np.ndarray) -> np.ndarray:
    return (colours * 255).round().astype(np.uint8)
