"""Volumes of signed distances as artifacts: meshes that are written and exported as they are."""

import numpy as np
import pytest
import torch
import trimesh

from modalities.shape.mesh_surface import MeshSurface
from modalities.shape.modality import ShapeModality
from modalities.shape.volume import REACH

MODALITY = ShapeModality(6)


@pytest.fixture(scope="module")
def ball():
    axis = torch.linspace(-REACH, REACH, 32)
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"))
    return MODALITY.to_artifact((grid.norm(dim=0) - 0.7)[None])


def test_a_volume_becomes_a_mesh_with_points_on_it(ball):
    assert isinstance(ball, MeshSurface)
    assert ball.mesh.is_watertight
    assert np.linalg.norm(ball.points, axis=1) == pytest.approx(0.7, abs=0.005)
    assert (ball.points * ball.normals).sum(axis=1).min() > 0.6
    assert MODALITY.to_data(ball).shape == (6, len(ball))


@pytest.mark.parametrize("suffix", [".ply", ".glb", ".stl", ".obj"])
def test_files_hold_the_mesh_itself(ball, tmp_path, suffix):
    path = tmp_path / f"ball{suffix}"
    MODALITY.write(ball, path, {"plan": 1})
    mesh = trimesh.load_mesh(path)
    assert len(mesh.faces) == len(ball.mesh.faces)
    assert mesh.is_watertight
    report = MODALITY.exporter(suffix, {"size": 3.0})(ball, path, {})
    assert report["watertight"]
    assert trimesh.load_mesh(path).extents.max() == pytest.approx(3.0, rel=1e-5)
    assert ball.mesh.extents.max() < 1.5  # unchanged


def test_points_are_written_on_request(ball, tmp_path):
    MODALITY.write(ball, tmp_path / "ball.npz", {})
    assert len(MODALITY.read(tmp_path / "ball.npz")) == len(ball)


def test_training_data_of_codecs_are_shown_by_their_surface():
    data = torch.rand(7, 30)
    data[6, :10] = 0
    assert len(MODALITY.to_artifact(data)) == 10
