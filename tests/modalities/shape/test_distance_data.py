"""Signed distances as training data of codecs."""

import numpy as np
import pytest
import torch
import trimesh

from modalities.shape.data import FurnitureDistances
from modalities.shape.distance_data import CHANNELS, DistanceFolder, DistancePreparation
from modalities.shape.modality import ShapeModality
from multidiff.errors import InputError

pytest.importorskip("igl")
MODALITY = ShapeModality(6)


def test_samples_hold_points_on_the_surface_and_queries_with_their_distances(tmp_path):
    trimesh.creation.icosphere(4, radius=3.0).export(tmp_path / "ball.stl")
    preparation = DistancePreparation(MODALITY, points=50, queries=60, stored=256)
    sample = preparation.sample(preparation.prepare(tmp_path / "ball.stl"), np.random.default_rng(0))
    assert sample.shape == preparation.shape == (CHANNELS, 110)
    points, queries = sample[:, :50], sample[:, 50:]
    sag = 0.004  # of the triangles of this sphere, scaled to radius 1
    torch.testing.assert_close(points[:3].norm(dim=0), torch.ones(50), rtol=0, atol=sag)
    assert (points[:3] * points[3:6]).sum(dim=0).min() > 0.99
    assert points[6].abs().max() == 0
    torch.testing.assert_close(queries[6], queries[:3].norm(dim=0) - 1, rtol=0, atol=sag)


def test_meshes_without_an_inside_are_left_out_by_name(tmp_path, caplog):
    trimesh.creation.icosphere(2).export(tmp_path / "ball.glb")
    sheet = trimesh.creation.box((1, 1, 1))
    sheet.update_faces(sheet.face_normals[:, 1] > 0.5)
    sheet.export(tmp_path / "sheet.glb")
    data = DistanceFolder(MODALITY, tmp_path, points=8, queries=8, stored=16, cache=tmp_path / "cache")
    assert len(data) == 1
    assert "1 of 2 shape files" in caplog.text
    assert "sheet.glb: winding numbers cannot tell inside from outside" in caplog.text


def test_points_without_faces_are_refused(tmp_path):
    np.save(tmp_path / "points.npy", np.eye(3))
    trimesh.PointCloud(np.eye(3)).export(tmp_path / "points.ply")
    with pytest.raises(InputError, match=r"points.ply: holds points without faces"):
        DistancePreparation(MODALITY, 1, 1).prepare(tmp_path / "points.ply")


def test_furniture_has_points_inside_and_outside(tmp_path):
    data = FurnitureDistances(MODALITY, 16, 32, count=8, stored=64, cache=tmp_path)
    rows = np.concatenate([data.store[i][64:] for i in range(8)])
    assert data.labels is not None
    assert 0.1 < (rows[:, 6] < 0).mean() < 0.6


@pytest.mark.parametrize(
    ("modality", "queries", "message"),
    [
        (MODALITY, 0, "data.queries is from 1"),
        (ShapeModality(3), 8, "modality.channels=6"),
        (ShapeModality(6, "none"), 8, "modality.normalisation=bounding_box"),
    ],
)
def test_unusable_settings_are_refused(modality, queries, message):
    with pytest.raises(InputError, match=message):
        DistancePreparation(modality, 8, queries)
