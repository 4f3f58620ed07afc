"""Signed distances by winding numbers, of closed, open and overlapping meshes."""

import sys

import numpy as np
import pytest
import trimesh

from modalities.shape.distances import inside, signed_distances, united, visible_surface
from multidiff.errors import InputError

POINTS = np.random.default_rng(0).uniform(-1, 1, (2000, 3))


@pytest.fixture(autouse=True)
def _libigl(request):
    if "without" not in request.node.name:
        pytest.importorskip("igl")


def box_distances(points, half):
    """Of a box around the origin, https://iquilezles.org/articles/distfunctions."""
    beyond = np.abs(points) - half
    return np.linalg.norm(np.maximum(beyond, 0), axis=1) + np.minimum(beyond.max(axis=1), 0)


def test_distances_to_a_box_are_exact():
    box = trimesh.creation.box((1, 0.6, 0.8))
    assert signed_distances(box, POINTS) == pytest.approx(box_distances(POINTS, (0.5, 0.3, 0.4)), abs=1e-6)


def test_an_open_box_has_an_inside():
    box = trimesh.creation.box((1, 1, 1))
    box.update_faces(box.face_normals[:, 1] < 0.5)
    deep = np.abs(POINTS) < [0.4, 0.3, 0.4]  # below the lid that the winding number makes
    assert inside(box, POINTS[deep.all(axis=1)]).all()
    assert not inside(box, POINTS[(np.abs(POINTS) > 0.5).any(axis=1)]).any()
    assert len(visible_surface(box, 3000, np.random.default_rng(0))) == 3000


@pytest.mark.parametrize("kind", ["sheet", "doubled", "mixed"])
def test_meshes_without_an_inside_are_refused(kind):
    mesh = trimesh.creation.icosphere(3)
    if kind == "sheet":
        mesh = trimesh.creation.box((1, 1, 1))
        mesh.update_faces(mesh.face_normals[:, 1] > 0.5)
    elif kind == "doubled":
        mesh = trimesh.Trimesh(mesh.vertices, np.concatenate([mesh.faces, mesh.faces[:, ::-1]]), process=False)
    else:
        turned = np.random.default_rng(0).random(len(mesh.faces)) < 0.5
        mesh.faces[turned] = mesh.faces[turned, ::-1]
    with pytest.raises(InputError, match="winding numbers cannot tell inside from outside"):
        visible_surface(mesh, 100, np.random.default_rng(0))


@pytest.mark.parametrize("split", [False, True])
def test_surfaces_inside_of_other_parts_count_neither_as_surface_nor_as_distance(split):
    """Where ``split``, no two faces share a vertex, as in an STL."""
    boxes = [trimesh.creation.box((1, 1, 1)), trimesh.creation.box((1, 1, 1))]
    boxes[1].vertices += [0.5, 0, 0]
    both = trimesh.util.concatenate(boxes)
    if split:
        both.unmerge_vertices()
    whole = POINTS - [0.25, 0, 0]
    surface = visible_surface(both, 3000, np.random.default_rng(0))
    assert np.abs(box_distances(surface.points - [0.25, 0, 0], (0.75, 0.5, 0.5))).max() < 1e-6
    pytest.importorskip("manifold3d")
    assert signed_distances(united(both), POINTS) == pytest.approx(box_distances(whole, (0.75, 0.5, 0.5)), abs=1e-6)


def test_without_libigl_the_message_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "igl", None)
    with pytest.raises(InputError, match=r"pip install 'multidiff-toolkit\[mesh\]'"):
        signed_distances(trimesh.creation.box(), POINTS)
