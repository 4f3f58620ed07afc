import numpy as np
import pytest
import trimesh

from modalities.shape.cloud import PointCloud
from modalities.shape.files import checked, read_geometry, sample_surface, write_cloud
from multidiff.errors import InputError
from tests.modalities.shape.test_cloud import random_cloud


def generator():
    return np.random.default_rng(0)


@pytest.mark.parametrize("suffix", [".ply", ".npz"])
def test_points_come_back_as_they_were_written(tmp_path, suffix):
    cloud, path = random_cloud(), tmp_path / f"cloud{suffix}"
    write_cloud(cloud, path, {"seed": 3, "label": "ä chair"})
    back = read_geometry(path)
    assert isinstance(back, PointCloud)
    assert np.array_equal(back.points, cloud.points)
    assert np.array_equal(back.normals, cloud.normals)
    half_a_level = 0 if suffix == ".npz" else 0.5 / 255
    assert np.abs(back.colours - cloud.colours).max() <= half_a_level + 1e-6
    assert back.metadata == {"seed": 3, "label": "ä chair"}


@pytest.mark.parametrize("suffix", ["glb", "obj", "ply", "stl", "off"])
def test_meshes_of_each_format_are_read(tmp_path, suffix):
    path = tmp_path / f"box.{suffix}"
    trimesh.creation.box((1, 2, 3)).export(path)
    mesh = read_geometry(path)
    assert np.isclose(mesh.area, 22)
    assert np.allclose(sorted(mesh.extents), (1, 2, 3))


def test_scenes_are_flattened_with_their_transforms(tmp_path):
    scene = trimesh.Scene()
    for x in (0, 10):
        scene.add_geometry(
            trimesh.creation.box((1, 1, 1)), transform=trimesh.transformations.translation_matrix((x, 0, 0))
        )
    scene.export(tmp_path / "scene.glb")
    assert np.allclose(read_geometry(tmp_path / "scene.glb").extents, (11, 1, 1))


def test_points_lie_on_the_surface_evenly_with_its_normals():
    box = trimesh.creation.box((2, 2, 2))
    count = 60_000
    cloud = sample_surface(box, count, generator(), colours=False)
    assert np.allclose(np.abs(cloud.points).max(axis=1), 1)
    assert np.allclose((cloud.points * cloud.normals).sum(axis=1), 1)
    eighths = np.histogramdd(cloud.points, bins=2)[0].ravel() / count
    deviation = np.sqrt(1 / 8 * 7 / 8 / count)  # of a share of 1/8
    assert np.abs(eighths - 1 / 8).max() < 5 * deviation


def test_colours_of_faces_and_of_vertices_reach_the_points():
    box = trimesh.creation.box()
    box.visual.face_colors = [255, 0, 51, 255]
    assert np.allclose(sample_surface(box, 9, generator(), colours=True).colours, (1, 0, 0.2))
    box = trimesh.creation.box()
    box.visual.vertex_colors = [[255 * (x > 0), 0, 0, 255] for x in box.vertices[:, 0]]
    cloud = sample_surface(box, 999, generator(), colours=True)
    assert np.allclose(cloud.colours[:, 0], cloud.points[:, 0] + 0.5, atol=1e-6)


def test_degenerate_faces_are_dropped_and_counted():
    box = trimesh.creation.box()
    mesh = trimesh.Trimesh(box.vertices, np.vstack([box.faces, [[0, 0, 1], [2, 2, 2]]]), process=False)
    mesh = checked(mesh)
    assert (len(mesh.faces), mesh.metadata["dropped_faces"]) == (12, 2)


def test_a_mesh_that_is_no_manifold_is_sampled_on_its_surface(tmp_path):
    """Three sheets that share an edge."""
    corners, faces = np.array([[0, 0, 0], [0, 1, 0], [1, 0, 0], [-1, 0, 0], [0, 0, 1]]), [[0, 1, i] for i in (2, 3, 4)]
    trimesh.Trimesh(corners, faces, process=False).export(tmp_path / "book.ply")
    mesh = read_geometry(tmp_path / "book.ply")
    assert np.isclose(mesh.area, 1.5)
    cloud = sample_surface(mesh, 300, generator(), colours=False)
    assert np.allclose(np.sort(np.abs(cloud.points[:, [0, 2]]))[:, 0], 0)


@pytest.mark.parametrize(
    ("name", "content", "saying"),
    [
        ("empty.obj", b"", "no mesh|not a readable"),
        ("text.stl", b"hello", "text.stl"),
        ("cut.glb", b"glTF\x02\x00", "cut.glb"),
        ("nan.obj", b"v 0 0 0\nv nan 0 0\nv 0 1 0\nf 1 2 3\n", "not finite"),
        ("line.obj", b"v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n", "zero area"),
        (
            "bare.gltf",
            b'{"asset": {"version": "2.0"}, "scenes": [{"nodes": []}], "scene": 0}',
            "no mesh|not a readable",
        ),
        ("mesh.fbx", b"", "suffix not one of .glb"),
        ("points.npz", b"PK", "not an NPZ"),
    ],
)
def test_what_cannot_be_used_is_named_with_the_reason(tmp_path, name, content, saying):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=saying) as error:
        read_geometry(tmp_path / name)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_no_point_is_no_sample():
    with pytest.raises(InputError, match="1 point or more, not 0"):
        sample_surface(trimesh.creation.box(), 0, generator(), colours=False)
