import numpy as np
import pytest
import trimesh

from modalities.shape.mesh_surface import MeshSurface
from modalities.shape.modality import ShapeModality
from modalities.shape.welding import welded


@pytest.mark.parametrize("suffix", ["stl", "glb", "obj", "ply"])
def test_a_closed_mesh_whose_vertices_are_split_is_kept_when_it_is_read(tmp_path, suffix):
    box = trimesh.creation.box((1, 2, 1))
    box.visual.face_colors = [255, 0, 0, 255]
    box.unmerge_vertices()
    box.export(tmp_path / f"box.{suffix}")
    shape = ShapeModality(6).read(tmp_path / f"box.{suffix}")
    assert isinstance(shape, MeshSurface)
    assert (len(shape.mesh.vertices), shape.mesh.volume) == (8, pytest.approx(2))
    if suffix in ("glb", "ply"):
        assert np.array_equal(shape.mesh.visual.vertex_colors, 8 * [[255, 0, 0, 255]])


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_only_equal_positions_are_welded(scale):
    ball = trimesh.creation.icosphere(1, radius=scale)
    split = trimesh.Trimesh(ball.triangles.reshape(-1, 3), np.arange(3 * len(ball.faces)).reshape(-1, 3), process=False)
    assert welded(split).is_volume
    assert len(welded(split).vertices) == len(ball.vertices)


def test_solids_that_touch_stay_as_they_are():
    both = trimesh.util.concatenate([trimesh.creation.box(), trimesh.creation.box().apply_translation([1, 1, 0])])
    assert welded(both) is both
