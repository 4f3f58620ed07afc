"""What is measured of the meshes that codecs decode: a cube against scaled, turned and open ones."""

import numpy as np
import pytest
import torch
import trimesh

from modalities.shape.cloud import PointCloud
from modalities.shape.fidelity import fidelity, nearest_discs
from modalities.shape.files import sample_surface
from modalities.shape.modality import ShapeModality
from modalities.shape.volume import REACH

pytest.importorskip("igl")
CUBE = trimesh.creation.box((2, 2, 2))
POINTS = sample_surface(CUBE, 2048, np.random.default_rng(0), colours=False)


@pytest.mark.parametrize(("scale", "within"), [(1, 1), (1.01, 1), (1.03, 0)])
def test_a_scaled_cube_is_as_far_as_it_is_larger(scale, within):
    """Its faces are ``scale - 1`` away, and the longest side is 2: a percent of it is 0.02."""
    found = fidelity(POINTS, CUBE.copy().apply_scale(scale))
    assert found["f_score"] == pytest.approx(within, abs=0.02)
    assert found["chamfer_l1"] == pytest.approx((scale - 1) / 2, abs=0.001)
    assert found["normal_consistency"] == pytest.approx(1, abs=0.01)
    assert found["watertight"] == 1


def test_a_face_that_is_missing_counts_as_lost():
    """The F-score is the harmonic mean of a precision of 1 and a recall of 5 faces of 6; the hole is not closed."""
    bottomless = CUBE.copy()
    bottomless.update_faces(bottomless.face_normals[:, 1] > -0.5)
    found = fidelity(POINTS, bottomless)
    assert found["f_score"] == pytest.approx(2 * (5 / 6) / (1 + 5 / 6), abs=0.02)
    assert found["watertight"] == 0


def test_normals_count_by_their_angle():
    """The slopes of fine ridges are at 45 degrees to the plane that they lie on."""
    width, count = 0.005, 401
    x, y = np.arange(count) * width, np.arange(count) % 2 * width
    vertices = np.concatenate([np.stack([x, y, np.full(count, z)], axis=1) for z in (0.0, 2.0)])
    near, far = np.arange(count - 1), np.arange(count - 1) + count
    faces = np.concatenate([np.stack([near, far, far + 1], axis=1), np.stack([near, far + 1, near + 1], axis=1)])
    ridges = trimesh.Trimesh(vertices, faces, process=False)
    places = np.random.default_rng(0).uniform(0, 2, (2048, 3)) * [1, 0, 1]
    plane = PointCloud(places, np.tile([0.0, 1.0, 0.0], (2048, 1)))
    assert fidelity(plane, ridges)["normal_consistency"] == pytest.approx(0.5**0.5, abs=0.005)


def test_discs_fill_the_gaps_between_points_and_end_at_edges():
    plate = sample_surface(trimesh.creation.box((2, 0.001, 2)), 500, np.random.default_rng(0), colours=False)
    cloud = sample_surface(trimesh.creation.box((1.8, 0.001, 1.8)), 500, np.random.default_rng(1), colours=False)
    flat = cloud[np.abs(cloud.normals[:, 1]) > 0.5]
    distances, discs = nearest_discs(flat, plate)
    assert np.mean(distances < 0.01) > 0.95
    assert np.abs(plate.normals[discs, 1]).min() > 0.5
    upright = PointCloud(flat.points, np.tile([1.0, 0, 0], (len(flat), 1)))
    assert np.median(nearest_discs(upright, plate)[0]) > 0.01


def test_points_beside_a_volume_are_those_on_the_surface():
    axis = torch.linspace(-REACH, REACH, 48)
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"))
    data = torch.zeros(7, 3000)
    data[:6, :2048] = torch.from_numpy(POINTS.rows(6).T.copy())
    data[6, 2048:] = 0.5  # queries, which have no normals
    modality, volume = ShapeModality(6), (grid.abs().amax(dim=0) - 1)[None]
    assert modality.reconstructed(data.shape, volume.shape)
    found = modality.fidelity(data, volume)
    assert found == modality.fidelity(data[:6, :2048], volume)
    assert found["f_score"] > 0.95
    assert not modality.reconstructed((3, 2048), volume.shape)
    assert modality.fidelity(data, data) == {}
