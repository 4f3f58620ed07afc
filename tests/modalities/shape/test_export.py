"""Every exported file is read back and compared."""

import zipfile

import numpy as np
import pytest
import trimesh

from modalities.shape.cloud import PointCloud
from modalities.shape.files import read_geometry
from modalities.shape.meshes import WRITTEN, report
from modalities.shape.metadata import read_metadata
from modalities.shape.modality import ShapeModality
from multidiff.errors import InputError
from tests.modalities.shape.test_surface import SOLIDS, points_of

STORY = {"seed": 3, "sizes": {"points": 128}}


def coloured_points():
    cloud = points_of(SOLIDS["torus"], 2048)
    return PointCloud(cloud.points, cloud.normals, np.tile([1.0, 0.2, 0.0], (len(cloud), 1)))


def export(cloud, path, metadata=None, **settings):
    return ShapeModality(6).exporter(path.suffix, settings)(cloud, path, metadata or {})


@pytest.mark.parametrize("suffix", WRITTEN)
def test_meshes_are_read_as_they_were_written(tmp_path, suffix):
    if suffix == ".3mf":
        pytest.importorskip("lxml")
    path = tmp_path / f"torus{suffix}"
    reported = export(coloured_points(), path, STORY, resolution=48, size=0.2, units="mm", up="z")
    back = trimesh.load_mesh(path)
    back.merge_vertices(merge_norm=True, merge_tex=True)
    assert back.is_watertight
    assert reported["watertight"]
    assert (len(back.vertices), len(back.faces)) == (reported["vertices"], reported["faces"])
    assert np.isclose(back.volume, reported["volume"], rtol=1e-4)
    assert np.isclose(back.extents.max(), 200, rtol=0.02)
    assert ("colours" in reported["dropped"]) == ("metadata" in reported["dropped"]) == (suffix in (".stl", ".3mf"))
    if "colours" not in reported["dropped"]:
        assert np.allclose(np.asarray(read_geometry(path).visual.vertex_colors)[:, :3], [255, 51, 0], atol=1)
    expected = {} if "metadata" in reported["dropped"] else {**STORY, "units": "mm", "up": "z"}
    assert read_metadata(path) == expected


@pytest.mark.parametrize(
    ("units", "name"), [("m", "meter"), ("cm", "centimeter"), ("mm", "millimeter"), ("in", "inch")]
)
def test_a_3mf_states_its_unit_and_is_the_same_each_time(tmp_path, units, name):
    for path in (tmp_path / "a.3mf", tmp_path / "b.3mf"):
        export(coloured_points(), path, STORY, resolution=32, size=0.2, units=units)
    with zipfile.ZipFile(tmp_path / "a.3mf") as archive:
        assert f'unit="{name}"'.encode() in archive.read("3D/3dmodel.model")
    assert (tmp_path / "a.3mf").read_bytes() == (tmp_path / "b.3mf").read_bytes()


@pytest.mark.parametrize("suffix", [".ply", ".npz"])
def test_points_are_read_as_they_were_written(tmp_path, suffix):
    cloud, path = coloured_points(), tmp_path / f"points{suffix}"
    reported = export(cloud, path, STORY, points=True, units="cm")
    assert reported["points"] == len(cloud)
    np.testing.assert_allclose(read_geometry(path).points, cloud.points * 100, rtol=1e-5)
    assert read_metadata(path) == {**STORY, "units": "cm", "up": "y"}


def test_z_up_is_a_rotation_without_a_reflection(tmp_path):
    cloud = points_of(SOLIDS["box"], 2048)
    for up in ("y", "z"):
        export(cloud, tmp_path / f"{up}.glb", resolution=32, up=up)
    y, z = (read_geometry(tmp_path / f"{up}.glb") for up in ("y", "z"))
    assert np.allclose(z.extents[[0, 2, 1]], y.extents, rtol=1e-4)
    assert z.volume > 0


def test_a_report_names_an_open_mesh():
    mesh = trimesh.creation.box()
    mesh.update_faces(np.arange(12) > 0)
    assert not report(mesh, ".glb")["watertight"]


@pytest.mark.parametrize(
    ("settings", "suffix", "message"),
    [
        ({}, ".fbx", "supported: .glb, .obj, .ply, .stl, .3mf; points=true writes"),
        ({"points": True}, ".glb", "supported: .ply, .npz; without points=true"),
        ({"units": "feet"}, ".glb", "units are one of m, cm, mm, in"),
        ({"up": "x"}, ".glb", "one of y, z"),
        ({"size": 0.0}, ".glb", "above 0"),
        ({"size": float("inf")}, ".glb", "above 0"),
        ({"faces": 3}, ".glb", "at least 4"),
        ({"resolution": 8}, ".glb", "16 to 512"),
        ({"faces": "many"}, ".glb", "faces must be of type int or null, got 'many'"),
        ({"points": 1}, ".ply", "points must be of type bool, got 1"),
        ({"face": 9}, ".glb", "face: not an export setting of shapes; there are: resolution, faces, size, units, up"),
    ],
)
def test_exports_that_cannot_be_written_are_refused(settings, suffix, message):
    with pytest.raises(InputError, match=message):
        ShapeModality(6).exporter(suffix, settings)


@pytest.mark.parametrize("points", [False, True])
def test_the_longest_side_has_the_requested_length(tmp_path, points):
    export(coloured_points(), tmp_path / "a.ply", resolution=32, size=0.2, units="mm", points=points)
    vertices = np.asarray(trimesh.load(tmp_path / "a.ply").vertices)
    assert np.ptp(vertices, axis=0).max() == pytest.approx(200, rel=1e-5)


def test_metadata_of_tuples_become_lists(tmp_path):
    export(coloured_points(), tmp_path / "a.glb", {"list": (1, 2)}, resolution=32)
    assert read_metadata(tmp_path / "a.glb")["list"] == [1, 2]
