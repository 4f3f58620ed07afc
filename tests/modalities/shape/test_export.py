"""Every file that is exported is read back and compared."""

import json

import numpy as np
import pytest
import trimesh

from modalities.shape.cloud import PointCloud
from modalities.shape.files import read_comment, read_geometry
from modalities.shape.meshes import WRITTEN, Export, report
from multidiff.errors import InputError
from tests.modalities.shape.test_surface import SOLIDS, points_of

STORY = {"seed": 3, "label": "chair"}


def coloured_points():
    cloud = points_of(SOLIDS["torus"], 2048)
    return PointCloud(cloud.points, cloud.normals, np.tile([1.0, 0.2, 0.0], (len(cloud), 1)))


@pytest.mark.parametrize("suffix", WRITTEN)
def test_meshes_come_back_as_they_were_written(tmp_path, suffix):
    if suffix == ".3mf":
        pytest.importorskip("lxml")
    path = tmp_path / f"torus{suffix}"
    told = Export(resolution=48, size=0.2, units="mm", up="z").write(coloured_points(), path, STORY)
    back = trimesh.load_mesh(path)
    back.merge_vertices(merge_norm=True, merge_tex=True)
    assert back.is_watertight
    assert told["watertight"]
    assert (len(back.vertices), len(back.faces)) == (told["vertices"], told["faces"])
    assert np.isclose(back.volume, told["volume"], rtol=1e-4)
    assert np.isclose(back.extents.max(), 200, rtol=0.02)
    assert ("colours" in told["dropped"]) == (suffix in (".stl", ".3mf"))
    if "colours" not in told["dropped"]:
        assert np.allclose(np.asarray(back.visual.vertex_colors)[:, :3], [255, 51, 0], atol=1)


def test_the_story_is_inside_where_the_format_has_a_place(tmp_path):
    for suffix in (".glb", ".obj", ".ply"):
        path = tmp_path / f"torus{suffix}"
        Export(resolution=32).write(coloured_points(), path, STORY)
        scene = trimesh.load_scene(path)
        story = scene.metadata["multidiff"] if suffix == ".glb" else read_comment(path)
        assert {name: story[name] for name in STORY} == STORY
        assert (story["units"], story["up"]) == ("m", "y")


@pytest.mark.parametrize("suffix", [".ply", ".npz"])
def test_points_come_back(tmp_path, suffix):
    cloud, path = coloured_points(), tmp_path / f"points{suffix}"
    told = Export(points=True, units="cm").write(cloud, path, STORY)
    assert told["points"] == len(cloud)
    np.testing.assert_allclose(read_geometry(path).points, cloud.points * 100, rtol=1e-5)


def test_z_up_is_a_turn_and_not_a_mirror(tmp_path):
    cloud = points_of(SOLIDS["box"], 2048)
    for up in ("y", "z"):
        Export(resolution=32, up=up).write(cloud, tmp_path / f"{up}.glb", {})
    y, z = (read_geometry(tmp_path / f"{up}.glb") for up in ("y", "z"))
    assert np.allclose(z.extents[[0, 2, 1]], y.extents, rtol=1e-4)
    assert z.volume > 0


def test_a_report_tells_of_an_open_mesh():
    mesh = trimesh.creation.box()
    mesh.update_faces(np.arange(12) > 0)
    assert not report(mesh, ".glb")["watertight"]


@pytest.mark.parametrize(
    ("settings", "name", "saying"),
    [
        ({}, "a.fbx", "they are as .glb, .obj, .ply, .stl, .3mf"),
        ({"points": True}, "a.glb", "they are as .ply, .npz"),
        ({"units": "feet"}, "a.glb", "units are one of m, cm, mm, in"),
        ({"up": "x"}, "a.glb", "one of y, z"),
        ({"size": 0.0}, "a.glb", "above 0"),
        ({"size": float("inf")}, "a.glb", "above 0"),
    ],
)
def test_what_cannot_be_exported_is_refused(tmp_path, settings, name, saying):
    with pytest.raises(InputError, match=saying):
        Export(**settings).write(coloured_points(), tmp_path / name, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("points", [False, True])
def test_the_longest_side_is_as_long_as_asked_for(tmp_path, points):
    Export(resolution=32, size=0.2, units="mm", points=points).write(coloured_points(), tmp_path / "a.ply", {})
    vertices = np.asarray(trimesh.load(tmp_path / "a.ply").vertices)
    assert np.ptp(vertices, axis=0).max() == pytest.approx(200, rel=1e-5)


def test_json_stays_json(tmp_path):
    Export(resolution=32).write(coloured_points(), tmp_path / "a.glb", {"list": (1, 2)})
    json.dumps(trimesh.load_scene(tmp_path / "a.glb").metadata["multidiff"])
