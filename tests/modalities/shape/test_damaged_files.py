"""Damaged files of meshes and points are read or refused in one line, in little time and memory."""

import io
import json

import numpy as np
import pytest
import trimesh
from hypothesis import given
from trimesh.exchange.gltf import export_gltf

from modalities.shape.files import read_geometry, write_cloud
from modalities.shape.meshes import write_mesh
from modalities.shape.metadata import read_metadata
from modalities.shape.modality import ShapeModality
from modalities.shape.preparation import ShapePreparation
from multidiff.data.encoded_file import EncodedFile
from multidiff.errors import InputError
from tests.modalities.shape.test_cloud import random_cloud
from tests.mutations import check_reader, mutated, repeatable


def coloured_box():
    mesh = trimesh.creation.box()
    mesh.visual.vertex_colors = np.arange(32).reshape(8, 4) * 8
    return mesh


def embedded_gltf():
    return export_gltf(trimesh.Scene(coloured_box()), merge_buffers=True, embed_buffers=True)["model.gltf"]


def array(points):
    file = io.BytesIO()
    np.save(file, points)
    return file.getvalue()


def coff():
    first, *lines = trimesh.creation.box().export(file_type="off").splitlines()
    coloured = [f"{line} 255 0 51" for line in lines[1:9]]
    return "\n".join([f"C{first}", lines[0], *coloured, *lines[9:]]).encode()


def written(suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    if suffix in (".glb", ".obj", ".ply", ".3mf"):
        write_mesh(coloured_box(), path, {"seed": 3})
    else:
        write_cloud(random_cloud(), path, {})
    return path.read_bytes()


FILES = {
    "mesh.gltf": embedded_gltf,
    "mesh.stl": lambda: trimesh.creation.box().export(file_type="stl"),
    "text.stl": lambda: trimesh.creation.box().export(file_type="stl_ascii").encode(),
    "text.ply": lambda: coloured_box().export(file_type="ply", encoding="ascii"),
    "colours.off": coff,
    "points.npy": lambda: array(random_cloud().points),
}


@pytest.fixture(params=[*FILES, "mesh.glb", "mesh.obj", "mesh.ply", "mesh.3mf", "points.npz"])
def good(request, tmp_path):
    name = request.param
    if name.endswith("3mf"):
        pytest.importorskip("lxml")
    content = FILES[name]() if name in FILES else written(f".{name.partition('.')[2]}", tmp_path)
    read_geometry(EncodedFile(content, name))
    return name, content


def test_damaged_files_are_prepared_or_refused(good):
    name, content = good
    channels = 9 if "mesh" in name or "colours" in name else 3
    preparation = ShapePreparation(ShapeModality(channels), points=9, stored=99)

    @repeatable(100)
    @given(mutated(content))
    def damaged(content):
        check_reader(lambda content: preparation.prepare(EncodedFile(content, name)), content)

    damaged()


@pytest.mark.parametrize("suffix", [".glb", ".obj", ".ply", ".npz"])
def test_metadata_of_damaged_files_are_read_or_refused(tmp_path, suffix):
    @repeatable(100)
    @given(mutated(written(suffix, tmp_path)))
    def damaged(content):
        (tmp_path / f"damaged{suffix}").write_bytes(content)
        check_reader(lambda _: read_metadata(tmp_path / f"damaged{suffix}"), content)

    damaged()


@pytest.mark.parametrize("faces", [0, 1, 10**12])
def test_a_binary_ply_has_the_bytes_that_its_header_claims(tmp_path, faces):
    header = f"""ply
format binary_little_endian 1.0
element vertex 1
property float x
property float y
property float z
element face {faces}
property list uchar int vertex_indices
end_header
"""
    (tmp_path / "a.ply").write_bytes(header.encode() + bytes(12))
    if not faces:
        assert len(read_geometry(tmp_path / "a.ply")) == 1
    else:
        with pytest.raises(InputError, match=rf"a\.ply: truncated: 12 of {12 + faces} bytes"):
            read_geometry(tmp_path / "a.ply")


def test_a_small_scene_cannot_repeat_its_meshes_without_end(tmp_path, monkeypatch):
    tree = json.loads(embedded_gltf())
    tree["nodes"] = [{"children": [1, 2, 3]}, *([{"mesh": 0}] * 3)]
    tree["scenes"] = [{"nodes": [0]}]
    (tmp_path / "a.gltf").write_text(json.dumps(tree))
    assert len(read_geometry(tmp_path / "a.gltf").faces) == 3 * 12
    monkeypatch.setattr("modalities.shape.scenes.MOST_REPEATED", 3 * 20 - 1)
    with pytest.raises(InputError, match=r"a\.gltf: repeats its meshes to 60 faces and vertices"):
        read_geometry(tmp_path / "a.gltf")
