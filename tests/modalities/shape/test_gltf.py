"""Colours of glTF, which are linear, in files of this and of other programs."""

import json

import numpy as np
import pytest
import trimesh
from PIL import Image
from trimesh.exchange.gltf import export_glb, export_gltf

from modalities.shape.files import read_geometry, sample_surface
from modalities.shape.gltf import to_linear, to_srgb
from modalities.shape.meshes import write_mesh

SHADES = np.linspace(0, 1, 256)


def coloured(colours):
    """A strip of triangles with one colour at each vertex, sRGB from 0 to 1."""
    count = len(colours)
    vertices = np.stack([np.arange(count), np.arange(count) % 2, np.zeros(count)], axis=1)
    faces = np.stack([np.arange(count - 2) + i for i in range(3)], axis=1)
    return trimesh.Trimesh(vertices, faces, vertex_colors=(colours * 255).round().astype(np.uint8), process=False)


def greys():
    return np.tile(SHADES[:, None], (1, 3))


def tree_of(path):
    content = path.read_bytes()
    return json.loads(content[20 : 20 + int.from_bytes(content[12:16], "little")])


def colours_of(path):
    """As the modality reads them: where all points share one colour, it is returned."""
    cloud = sample_surface(read_geometry(path), 20, np.random.default_rng(0), colours=True)
    assert np.ptp(cloud.colours, axis=0).max() < 1e-6
    return cloud.colours[0]


def with_attribute(colours, **keywords):
    """A GLB of a triangle with ``colours`` as COLOR_0, in their own type."""
    mesh = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]], process=False, **keywords)
    mesh.vertex_attributes["_C"] = colours

    def rename(tree):
        attributes = tree["meshes"][0]["primitives"][0]["attributes"]
        attributes["COLOR_0"] = attributes.pop("_C")
        tree["accessors"][attributes["COLOR_0"]]["normalized"] = colours.dtype.kind == "u"

    return export_glb(trimesh.Scene(mesh), tree_postprocessor=rename)


def test_the_curve_of_srgb():
    assert to_linear(np.array(0.5)) == pytest.approx(0.2140, abs=1e-4)
    assert np.allclose(to_srgb(to_linear(SHADES)), SHADES)


def test_a_glb_and_a_ply_hold_the_same_colours(tmp_path):
    mesh = coloured(greys())
    read = {}
    for suffix in (".glb", ".ply"):
        write_mesh(mesh, tmp_path / f"a{suffix}", {})
        read[suffix] = sample_surface(
            read_geometry(tmp_path / f"a{suffix}"), 2000, np.random.default_rng(0), colours=True
        )
    assert np.abs(read[".glb"].colours - read[".ply"].colours).max() <= 1 / 255
    assert np.ptp(read[".ply"].colours) > 0.9


def test_grey_is_written_as_linear_floats(tmp_path):
    write_mesh(coloured(np.full((4, 3), 0.5)), tmp_path / "a.glb", {})
    tree = tree_of(tmp_path / "a.glb")
    accessor = tree["accessors"][tree["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"]]
    assert (accessor["componentType"], accessor["type"]) == (5126, "VEC3")
    assert np.allclose(accessor["max"], to_linear(np.array(128 / 255)))
    assert np.allclose(
        np.array(trimesh.load_mesh(tmp_path / "a.glb").visual.vertex_colors)[0, :3] / 255, 0.214, atol=0.003
    )
    assert np.allclose(colours_of(tmp_path / "a.glb"), 128 / 255)


@pytest.mark.parametrize(("kind", "channels"), [("u1", 4), ("<u2", 4), ("<f4", 3), ("<f4", 4)])
def test_vertex_colours_of_every_type_are_linear(tmp_path, kind, channels):
    scale = np.iinfo(kind).max if "u" in kind else 1
    stored = np.tile(to_linear(np.array([0.2, 0.5, 1.0, 1.0])) * scale, (3, 1))[:, :channels]
    stored = (stored.round() if "u" in kind else stored).astype(kind)
    (tmp_path / "a.glb").write_bytes(with_attribute(stored))
    assert np.allclose(colours_of(tmp_path / "a.glb"), to_srgb(stored[0, :3] / scale), atol=0.6 / 255)


@pytest.mark.parametrize("vertex", [(1.0, 1.0, 1.0), (0.5, 1.0, 0.1)])
@pytest.mark.parametrize("image", [False, True])
def test_factors_textures_and_vertex_colours_multiply_in_linear_light(tmp_path, vertex, image):
    factor, texture = np.array([128, 5, 255]), np.array([255, 128, 255])
    settings = {"baseColorTexture": Image.new("RGB", (2, 2), tuple(texture.tolist()))} if image else {}
    material = trimesh.visual.material.PBRMaterial(baseColorFactor=[*factor, 255], **settings)
    visual = trimesh.visual.TextureVisuals(uv=np.zeros((3, 2)), material=material)
    (tmp_path / "a.glb").write_bytes(with_attribute(np.tile(np.array(vertex, "<f4"), (3, 1)), visual=visual))
    expected = factor / 255 * vertex * (to_linear(texture / 255) if image else 1)
    assert np.allclose(colours_of(tmp_path / "a.glb"), to_srgb(expected), atol=1.5 / 255)


def test_a_gltf_of_files_is_linear_too(tmp_path):
    mesh = coloured(np.full((4, 3), 55 / 255))  # trimesh writes the bytes as they are
    for name, content in export_gltf(trimesh.Scene(mesh)).items():
        (tmp_path / name).write_bytes(content)
    assert np.allclose(colours_of(tmp_path / "model.gltf"), to_srgb(np.array(55 / 255)), atol=1 / 255)


def test_points_of_a_glb_are_linear_too(tmp_path):
    cloud = trimesh.PointCloud(np.random.default_rng(0).normal(size=(9, 3)), colors=np.full((9, 4), 55, np.uint8))
    (tmp_path / "a.glb").write_bytes(export_glb(trimesh.Scene(cloud)))
    assert np.allclose(read_geometry(tmp_path / "a.glb").colours, to_srgb(np.array(55 / 255)), atol=1 / 255)


def test_files_of_versions_before_linear_colours_are_read_as_they_were_meant(tmp_path):
    """They hold sRGB in 8 bits, and metadata of MultiDiff."""
    scene = trimesh.Scene({"shape": coloured(np.full((4, 3), 128 / 255))})
    scene.metadata["multidiff"] = {}
    (tmp_path / "a.glb").write_bytes(export_glb(scene))
    assert np.allclose(colours_of(tmp_path / "a.glb"), 128 / 255)
