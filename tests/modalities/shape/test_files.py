import json
import os

import numpy as np
import pytest
import trimesh
from PIL import Image
from trimesh.exchange.gltf import export_gltf

from modalities.shape import files
from modalities.shape.cloud import PointCloud
from modalities.shape.files import checked, read_geometry, sample_surface, write_cloud
from modalities.shape.metadata import read_metadata
from multidiff.data.encoded_file import EncodedFile
from multidiff.errors import InputError
from tests.modalities.shape.test_cloud import random_cloud

STORY = {"seed": 3, "label": "ä chair", "long": "x" * 100_000}


def generator():
    return np.random.default_rng(0)


def member(path):
    """The file as if in a tar shard."""
    return EncodedFile(path.read_bytes(), f"000.tar/{path.name.upper()}")


@pytest.mark.parametrize("suffix", [".ply", ".npz"])
def test_written_points_are_read_with_their_metadata(tmp_path, suffix):
    cloud, path = random_cloud(), tmp_path / f"cloud{suffix}"
    write_cloud(cloud, path, STORY)
    assert read_metadata(path) == STORY
    half_a_level = 0 if suffix == ".npz" else 0.5 / 255
    for file in (path, member(path)):
        back = read_geometry(file)
        assert isinstance(back, PointCloud)
        assert np.array_equal(back.points, cloud.points)
        assert np.array_equal(back.normals, cloud.normals)
        assert np.abs(back.colours - cloud.colours).max() <= half_a_level + 1e-6


def test_an_array_is_read_as_points(tmp_path):
    points = random_cloud().points
    np.save(tmp_path / "points.npy", points.astype(np.float64))
    for file in (tmp_path / "points.npy", member(tmp_path / "points.npy")):
        cloud = read_geometry(file)
        assert np.array_equal(cloud.points, points)
        assert cloud.normals is cloud.colours is None


@pytest.mark.parametrize("suffix", ["glb", "obj", "ply", "stl", "off", "3mf"])
def test_meshes_of_each_format_are_read_from_disk_and_from_memory(tmp_path, suffix):
    if suffix == "3mf":
        pytest.importorskip("lxml")
    path = tmp_path / f"box.{suffix}"
    trimesh.creation.box((1, 2, 3)).export(path)
    for file in (path, member(path)):
        mesh = read_geometry(file)
        assert np.isclose(mesh.area, 22)
        assert np.allclose(sorted(mesh.extents), (1, 2, 3))
    assert read_metadata(path) == {}


def test_a_file_in_memory_is_read_without_the_files_that_it_refers_to(tmp_path):
    box = trimesh.creation.box()
    box.visual = trimesh.visual.TextureVisuals(uv=np.zeros((8, 2)), image=Image.new("RGB", (2, 2), "red"))
    box.export(tmp_path / "box.obj")
    red, default = (
        sample_surface(read_geometry(file), 1, generator(), colours=True).colours[0]
        for file in (tmp_path / "box.obj", member(tmp_path / "box.obj"))
    )
    assert np.allclose(red, (1, 0, 0))
    assert not np.allclose(default, red)
    trimesh.creation.box().export(tmp_path / "box.gltf")
    assert np.isclose(read_geometry(tmp_path / "box.gltf").area, 6)
    with pytest.raises(InputError, match=r"^000\.tar/BOX\.GLTF: .*refers to gltf_buffer_0\.bin, which is not inside"):
        read_geometry(member(tmp_path / "box.gltf"))


def test_scenes_are_flattened_with_their_transforms(tmp_path):
    scene = trimesh.Scene()
    for x in (0, 10):
        scene.add_geometry(
            trimesh.creation.box((1, 1, 1)), transform=trimesh.transformations.translation_matrix((x, 0, 0))
        )
    scene.export(tmp_path / "scene.glb")
    assert np.allclose(read_geometry(tmp_path / "scene.glb").extents, (11, 1, 1))


def test_points_are_uniform_on_the_surface_with_its_normals():
    box = trimesh.creation.box((2, 2, 2))
    count = 60_000
    cloud = sample_surface(box, count, generator(), colours=False)
    assert np.allclose(np.abs(cloud.points).max(axis=1), 1)
    assert np.allclose((cloud.points * cloud.normals).sum(axis=1), 1)
    eighths = np.histogramdd(cloud.points, bins=2)[0].ravel() / count
    deviation = np.sqrt(1 / 8 * 7 / 8 / count)  # of a fraction of 1/8
    assert np.abs(eighths - 1 / 8).max() < 5 * deviation


def test_colours_of_faces_and_of_vertices_reach_the_points():
    box = trimesh.creation.box()
    box.visual.face_colors = [255, 0, 51, 255]
    assert np.allclose(sample_surface(box, 9, generator(), colours=True).colours, (1, 0, 0.2))
    box = trimesh.creation.box()
    box.visual.vertex_colors = [[255 * (x > 0), 0, 0, 255] for x in box.vertices[:, 0]]
    cloud = sample_surface(box, 999, generator(), colours=True)
    assert np.allclose(cloud.colours[:, 0], cloud.points[:, 0] + 0.5, atol=1e-6)


@pytest.mark.parametrize("factor", [None, [255, 0, 255, 255]])
@pytest.mark.parametrize("suffix", ["glb", "obj"])
def test_a_texture_is_sampled_within_faces(tmp_path, suffix, factor):
    """Its border is black and its middle yellow; with a factor without green, which an OBJ does not hold, red."""
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[2:6, 2:6] = [255, 255, 0]
    quad = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 3]], process=False)
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=Image.fromarray(pixels), baseColorFactor=factor)
    quad.visual = trimesh.visual.TextureVisuals(uv=quad.vertices[:, :2], material=material)
    quad.export(tmp_path / f"quad.{suffix}")
    cloud = sample_surface(read_geometry(tmp_path / f"quad.{suffix}"), 2000, generator(), colours=True)
    middle = (np.abs(cloud.points[:, :2] - 0.5) < 0.15).all(axis=1)
    expected = [1, 1, 0] if factor is None or suffix == "obj" else [1, 0, 0]
    assert np.allclose(cloud.colours[middle], expected, atol=0.01)
    assert np.allclose(cloud.colours[(np.abs(cloud.points[:, :2] - 0.5) > 0.35).any(axis=1)], 0, atol=0.01)


def test_degenerate_faces_are_dropped_and_counted():
    box = trimesh.creation.box()
    mesh = trimesh.Trimesh(box.vertices, np.vstack([box.faces, [[0, 0, 1], [2, 2, 2]]]), process=False)
    mesh = checked(mesh)
    assert (len(mesh.faces), mesh.metadata["dropped_faces"]) == (12, 2)


def test_a_non_manifold_mesh_is_sampled_on_its_surface(tmp_path):
    """Three sheets that share an edge."""
    corners, faces = np.array([[0, 0, 0], [0, 1, 0], [1, 0, 0], [-1, 0, 0], [0, 0, 1]]), [[0, 1, i] for i in (2, 3, 4)]
    trimesh.Trimesh(corners, faces, process=False).export(tmp_path / "book.ply")
    mesh = read_geometry(tmp_path / "book.ply")
    assert np.isclose(mesh.area, 1.5)
    cloud = sample_surface(mesh, 300, generator(), colours=False)
    assert np.allclose(np.sort(np.abs(cloud.points[:, [0, 2]]))[:, 0], 0)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.obj", b"", "without a mesh|not a readable"),
        ("text.stl", b"hello", "text.stl"),
        ("cut.glb", b"glTF\x02\x00", "not a readable GLB"),
        ("nan.obj", b"v 0 0 0\nv nan 0 0\nv 0 1 0\nf 1 2 3\n", "not finite"),
        ("line.obj", b"v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n", "zero area"),
        (
            "bare.gltf",
            b'{"asset": {"version": "2.0"}, "scenes": [{"nodes": []}], "scene": 0}',
            "without a mesh|not a readable",
        ),
        ("mesh.fbx", b"", "suffix not one of .glb"),
        ("points.npz", b"PK", "not an NPZ"),
        ("points.npy", b"text", "not an NPY"),
    ],
)
def test_unusable_files_are_named_with_the_reason(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    for file in (tmp_path / name, EncodedFile(content, name)):
        with pytest.raises(InputError, match=message) as error:
            read_geometry(file)
        assert name in str(error.value)
        assert "\n" not in str(error.value)
    assert read_metadata(tmp_path / name) == {}


def test_missing_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"a\.npy: no such file"):
        read_geometry(tmp_path / "a.npy")
    with pytest.raises(InputError, match=r"a\.ply: No such file"):
        read_metadata(tmp_path / "a.ply")


def test_arrays_of_another_shape_are_refused(tmp_path):
    for array in (np.zeros((5, 2)), np.array(1.0)):
        np.save(tmp_path / "a.npy", array)
        with pytest.raises(InputError, match=r"a\.npy: "):
            read_geometry(tmp_path / "a.npy")


def test_a_sample_has_at_least_one_point():
    with pytest.raises(InputError, match="1 point or more, not 0"):
        sample_surface(trimesh.creation.box(), 0, generator(), colours=False)


@pytest.mark.parametrize("faces", ["", "element face 0\nproperty list uchar int vertex_indices\n"])
@pytest.mark.parametrize("normals", [False, True])
def test_points_in_a_text_ply_are_read(tmp_path, faces, normals):
    cloud = random_cloud()
    names, rows = ("x", "y", "z"), cloud.points
    if normals:
        names, rows = (*names, "nx", "ny", "nz"), np.hstack([cloud.points, cloud.normals])
    header = f"ply\nformat ascii 1.0\nelement vertex {len(rows)}\n"
    header += "".join(f"property float {name}\n" for name in names) + faces + "end_header\n"
    path = tmp_path / "a.ply"
    path.write_text(header + "\n".join(" ".join(map(repr, map(float, row))) for row in rows) + "\n")
    back = read_geometry(path)
    np.testing.assert_allclose(back.points, cloud.points)
    assert (back.normals is not None) == normals


def test_geometry_far_from_the_origin_keeps_its_precision(tmp_path):
    sphere, path = trimesh.creation.icosphere(3), tmp_path / "a.obj"
    sphere.apply_translation([448262.0, 5411932.0, 120.0])
    sphere.export(path, digits=10)
    moved = sample_surface(read_geometry(path, recentre=True), 2000, generator(), colours=False)
    radius = np.linalg.norm(moved.points, axis=1)
    assert radius.min() > 0.98
    assert radius.max() < 1.001


def test_a_missing_texture_leaves_the_colour_of_the_material(tmp_path):
    (tmp_path / "a.mtl").write_text("newmtl m\nKd 1 0 0\nmap_Kd gone.png\n")
    (tmp_path / "a.obj").write_text(
        "mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nusemtl m\nf 1/1 2/2 3/3\n"
    )
    cloud = sample_surface(read_geometry(tmp_path / "a.obj"), 5, generator(), colours=True)
    assert cloud.colours.tolist() == [[1.0, 0.0, 0.0]] * 5


@pytest.mark.parametrize("uri", ["../secret.bin", "/etc/passwd", "pipe.bin", "gone.bin"])
def test_a_gltf_refers_to_files_below_its_folder(tmp_path, uri):
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(b"x" * 36)
    os.mkfifo(folder / "pipe.bin")
    tree = {"asset": {"version": "2.0"}, "buffers": [{"uri": uri, "byteLength": 36}]}
    (folder / "a.gltf").write_text(json.dumps(tree))
    with pytest.raises(InputError, match=r"a\.gltf: .*(points outside|is not a regular file|is missing)"):
        read_geometry(folder / "a.gltf")


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", points=np.zeros((10_000, 3)))
    monkeypatch.setattr(files, "LARGEST", 100_000)
    for file in (tmp_path / "a.npz", member(tmp_path / "a.npz")):
        with pytest.raises(InputError, match="unpacks to"):
            read_geometry(file)


@pytest.mark.parametrize("header", ["{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 3), }", "{'de"])
def test_an_array_is_not_what_its_header_claims(tmp_path, header):
    start = b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little")
    (tmp_path / "a.npy").write_bytes(start + header.encode() + b"\n" + b"\0" * 12)
    with pytest.raises(InputError, match=r"a\.npy: (not an NPY|truncated: 12 of 12000000000000 bytes)"):
        read_geometry(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("header", "rest"),
    [
        ("COFF", "255 0 51 255"),
        ("COFF", "255 0 51"),
        ("COFF", "1.0 0.0 0.2"),
        ("COFF", "1 0 0.2 1"),
        ("CNOFF", "0 0 1 255 0 51 255"),
        ("NCOFF", "0 0 1 1.0 0.0 0.2 0.5"),
        ("STCOFF", "255 0 51 0.5 0.5"),
    ],
)
def test_colours_of_the_vertices_of_an_off_are_read(tmp_path, header, rest):
    lines = [f"{header}3 1 0", "# a triangle", *(f"{place} {rest}" for place in ("0 0 0", "1 0 0", "0 1 0")), "3 0 1 2"]
    (tmp_path / "a.off").write_text("\n".join(lines))
    cloud = sample_surface(read_geometry(tmp_path / "a.off"), 9, generator(), colours=True)
    assert np.allclose(cloud.colours, (1, 0, 0.2))


@pytest.mark.parametrize("header", ["OFF", "NOFF"])
def test_an_off_without_colours_is_grey(tmp_path, header):
    (tmp_path / "a.off").write_text(f"{header}\n3 1 0\n0 0 0 0 0 1\n1 0 0 0 0 1\n0 1 0 0 0 1\n3 0 1 2\n")
    assert not read_geometry(tmp_path / "a.off").visual.defined


def test_a_truncated_stl_is_named_as_such(tmp_path):
    box, path = trimesh.creation.box(), tmp_path / "a.stl"
    path.write_bytes(box.export(file_type="stl")[:-80])
    with pytest.raises(InputError, match=r"a\.stl: truncated: 10 of 12 triangles are there"):
        read_geometry(path)
    text = box.export(file_type="stl_ascii")
    for cut in (text[: len(text) * 3 // 4], text + text[: len(text) // 2]):
        path.write_text(cut)
        with pytest.raises(InputError, match=r"a\.stl: truncated: 'endsolid' is missing after \d+ triangles"):
            read_geometry(path)


@pytest.mark.parametrize("start", [b"", b"solid of a CAD program"])
def test_bytes_after_the_triangles_of_an_stl_are_ignored(tmp_path, start):
    content = start.ljust(80, b" ") + trimesh.creation.box().export(file_type="stl")[80:]
    (tmp_path / "a.stl").write_bytes(content + bytes(10))
    assert np.isclose(read_geometry(tmp_path / "a.stl").area, 6)
    (tmp_path / "a.stl").write_text(trimesh.creation.box().export(file_type="stl_ascii") + "\n; made by hand\n")
    assert np.isclose(read_geometry(tmp_path / "a.stl").area, 6)


@pytest.mark.parametrize(("suffix", "message"), [("ply", "19 of 20 rows"), ("off", "19 of 20 vertices and faces")])
def test_a_text_file_of_too_few_faces_is_truncated(tmp_path, suffix, message):
    arguments = {"encoding": "ascii"} if suffix == "ply" else {}
    lines = trimesh.util.decode_text(trimesh.creation.box().export(file_type=suffix, **arguments)).splitlines()
    (tmp_path / f"a.{suffix}").write_text("\n".join(lines[:-1]))
    with pytest.raises(InputError, match=rf"a\.{suffix}: truncated: {message} are there"):
        read_geometry(tmp_path / f"a.{suffix}")


def test_a_glb_that_claims_a_longer_header_has_no_metadata(tmp_path):
    (tmp_path / "a.glb").write_bytes(b"glTF" + bytes(8) + b"\xff\xff\xff\xffJSON{}")
    assert read_metadata(tmp_path / "a.glb") == {}


@pytest.mark.parametrize("count", [10**7, 10**12])
def test_a_gltf_has_as_many_values_as_bytes(tmp_path, count):
    files = export_gltf(trimesh.Scene(trimesh.creation.box()), merge_buffers=True)
    tree = json.loads(files.pop("model.gltf"))
    tree["accessors"][1] = {"componentType": 5126, "type": "VEC3", "count": count}
    (tmp_path / "a.gltf").write_text(json.dumps(tree))
    with pytest.raises(InputError, match=rf"a\.gltf: truncated: \d+ of {count} values of an accessor are there"):
        read_geometry(tmp_path / "a.gltf")
