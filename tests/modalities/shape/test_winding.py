import numpy as np
import pytest
import trimesh

from modalities.shape.files import read_geometry, sample_surface
from modalities.shape.winding import DOUBLED, TURNED, turn_outwards

concatenate = trimesh.util.concatenate


def ball(radius=1.0, *, x=0.0, outward=True):
    mesh = trimesh.creation.icosphere(2, radius=radius)
    mesh.apply_translation([x, 0, 0])
    if not outward:
        mesh.invert()
    return mesh


def turned(mesh):
    turn_outwards(mesh)
    return mesh.metadata[TURNED]


def test_bodies_are_turned_outwards_one_by_one():
    volume = ball().volume
    for flags in ((True, True), (True, False), (False, True), (False, False)):
        mesh = concatenate([ball(outward=flags[0]), ball(2, x=9, outward=flags[1])])
        assert turned(mesh) == 2 - sum(flags)
        assert mesh.volume == pytest.approx(9 * volume)


@pytest.mark.parametrize("outward", [True, False])
def test_cavities_point_into_the_hole(outward):
    mesh = concatenate([ball(2, outward=outward), ball(1, outward=not outward)])
    assert turned(mesh) == (0 if outward else 2)
    assert mesh.volume == pytest.approx(7 * ball().volume)


def test_a_mesh_without_an_inside_is_left_as_it_is():
    sheet = ball(outward=False)
    sheet.update_faces(np.arange(len(sheet.faces)) > 0)
    mixed = ball(outward=False)
    mixed.faces[0] = mixed.faces[0, ::-1]
    for mesh in (sheet, mixed):
        faces = mesh.faces.copy()
        assert turned(mesh) == 0
        assert np.array_equal(mesh.faces, faces)


@pytest.mark.parametrize("suffix", ["stl", "glb", "obj"])
def test_a_file_that_is_inside_out_is_sampled_with_outward_normals(tmp_path, suffix):
    """The faces of an STL share no vertices, and those of a GLB only where their normals agree."""
    ball(outward=False).export(tmp_path / f"a.{suffix}")
    cloud = sample_surface(read_geometry(tmp_path / f"a.{suffix}"), 99, np.random.default_rng(0), colours=False)
    assert ((cloud.points * cloud.normals).sum(axis=1) > 0.9).all()


def test_doubled_faces_are_counted_and_kept():
    solid = ball()
    once = len(solid.faces)
    for faces, doubled in (
        ([solid.faces, solid.faces[:5, ::-1]], 5),
        ([solid.faces, solid.faces, solid.faces[:, [1, 0, 2]]], once),
        ([solid.faces, solid.faces], 0),
    ):
        mesh = trimesh.Trimesh(solid.vertices, np.concatenate(faces), process=False)
        assert turned(mesh) == 0
        assert (mesh.metadata[DOUBLED], len(mesh.faces)) == (doubled, sum(map(len, faces)))
