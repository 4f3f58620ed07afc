"""Solids reconstructed from their own oriented points: closed, outward, in one part, and of the same volume."""

import numpy as np
import pytest
import torch
import trimesh

from modalities.shape.cloud import PointCloud
from modalities.shape.files import sample_surface
from modalities.shape.furniture import make
from modalities.shape.poisson import MARGIN, signed_field
from modalities.shape.solids import sample_union
from modalities.shape.surface import Reconstruction, spacing, without_small_parts
from multidiff.errors import InputError

SOLIDS = {
    "sphere": trimesh.creation.icosphere(4),
    "torus": trimesh.creation.torus(1, 0.3, 64, 32),
    "box": trimesh.creation.box((2, 1, 0.3)),
}
GENUS = {"sphere": 0, "torus": 1, "box": 0}


def points_of(solid, count=4096, seed=0):
    return sample_surface(solid, count, np.random.default_rng(seed), colours=False)


@pytest.mark.parametrize("resolution", [64, 128])
@pytest.mark.parametrize("name", SOLIDS)
def test_a_solid_is_closed_and_keeps_its_volume(name, resolution):
    solid = SOLIDS[name]
    mesh = Reconstruction(resolution).mesh(points_of(solid))
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.body_count == 1
    assert mesh.euler_number == 2 - 2 * GENUS[name]
    voxel = MARGIN * solid.extents.max() / resolution
    assert abs(mesh.volume - solid.volume) < solid.area * voxel / 4  # within a quarter of a voxel of the surface


@pytest.mark.parametrize("count", [512, 2048])
def test_few_points_at_high_resolution_still_close(count):
    for seed in range(2):
        mesh = Reconstruction(128).mesh(points_of(SOLIDS["sphere"], count, seed))
        assert mesh.is_watertight
        assert mesh.body_count == 1


def test_thin_parts_survive_the_smoothing():
    """A plate a tenth as thick as wide, of few points: smoothing without the correction of the level removes it."""
    plate = trimesh.creation.box((2, 0.1, 2))
    mesh = Reconstruction(64).mesh(points_of(plate, 1024))
    assert mesh.is_watertight
    assert abs(mesh.volume / plate.volume - 1) < 0.2


def test_moving_and_scaling_the_points_moves_and_scales_the_mesh():
    cloud = points_of(SOLIDS["torus"], 1024)
    here = Reconstruction(64).mesh(cloud)
    there = Reconstruction(64).mesh(PointCloud(cloud.points * 8 + 4, cloud.normals))
    assert np.isclose(there.volume, here.volume * 8**3, rtol=1e-3)
    assert np.allclose(there.bounds, here.bounds * 8 + 4, atol=1e-2)


def test_the_field_is_positive_exactly_inside():
    resolution, centre, radius = 48, 24.0, 12.0
    cloud = points_of(SOLIDS["sphere"])
    points = torch.from_numpy(cloud.points * radius + centre).float()
    field = signed_field(points, torch.from_numpy(cloud.normals.copy()), resolution, width=1.0)
    grid = torch.stack(torch.meshgrid(*3 * [torch.arange(48.0)], indexing="ij"))
    distance = (grid - centre).square().sum(dim=0).sqrt()
    assert (field[distance < radius - 1] > 0).all()
    assert (field[distance > radius + 1] < 0).all()


def test_the_spacing_is_the_root_of_the_area_per_point():
    sphere = SOLIDS["sphere"]
    count = 20_000
    assert np.isclose(spacing(points_of(sphere, count).points), np.sqrt(sphere.area / count), rtol=0.05)


def test_normals_are_estimated_where_there_are_none():
    cloud = points_of(SOLIDS["torus"])
    mesh = Reconstruction(64).mesh(PointCloud(cloud.points))
    assert np.isclose(mesh.volume, SOLIDS["torus"].volume, rtol=0.02)


@pytest.mark.parametrize("label", ["chair", "lamp", "table"])
def test_normals_are_estimated_on_thin_legs(label):
    random = np.random.default_rng(1)
    cloud = sample_union(make(label, random).parts, 2048, random)
    true, estimated = (Reconstruction(64).mesh(c).volume for c in (cloud, PointCloud(cloud.points)))
    assert abs(estimated / true - 1) < 0.1


@pytest.mark.parametrize("label", ["chair", "lamp", "table"])
def test_noisy_points_stay_in_one_part(label):
    """Noise of a third of the spacing, as in samples of a model: thin legs break at the iso-level of the points."""
    random = np.random.default_rng(3)
    cloud = sample_union(make(label, random).parts, 1024, random)
    noise = spacing(cloud.points) / 3
    normals = cloud.normals + random.normal(scale=1 / 3, size=cloud.points.shape)
    points = cloud.points + random.normal(scale=noise, size=cloud.points.shape)
    mesh = Reconstruction(64).mesh(PointCloud(points, normals / np.linalg.norm(normals, axis=1, keepdims=True)))
    assert mesh.is_watertight
    assert mesh.body_count == 1
    assert (np.abs(mesh.bounds - [cloud.points.min(axis=0), cloud.points.max(axis=0)]) < 5 * noise).all()


def test_two_parts_stay_two():
    ball = points_of(SOLIDS["sphere"], 1024)
    points = np.concatenate([ball.points, ball.points + np.array([3, 0, 0])])
    mesh = Reconstruction(64).mesh(PointCloud(points, np.concatenate([ball.normals] * 2)))
    assert mesh.body_count == 2


def test_isolated_points_are_left_out():
    ball = points_of(SOLIDS["sphere"], 1024)
    stray = np.concatenate([ball.points, [[9.0, 0, 0], [0, 9, 0]]])
    with_strays = Reconstruction(64).mesh(PointCloud(stray, np.concatenate([ball.normals, np.eye(3)[:2]])))
    alone = Reconstruction(64).mesh(ball)
    assert np.isclose(with_strays.volume, alone.volume, rtol=0.01)


def test_a_mesh_that_closes_where_no_points_are_is_refused():
    """Two plates whose facing sides point at each other enclose the space between them."""
    plate = points_of(trimesh.creation.box((2, 0.05, 2)), 2048)
    high, low = plate.points[:, 1] > 0, plate.points[:, 1] < 0
    points = np.concatenate([plate.points[high] + [0, 1, 0], plate.points[low] - [0, 1, 0]])
    random = np.random.default_rng(0)
    for normals in (np.sign(points) * [0, 1, 0], random.normal(size=points.shape)):
        with pytest.raises(InputError, match="no surface is found: the normals"):
            Reconstruction(32).mesh(PointCloud(points, normals))


def test_normals_that_point_inwards_are_flipped():
    cloud = points_of(SOLIDS["torus"])
    mesh = Reconstruction(64).mesh(PointCloud(cloud.points, -cloud.normals))
    assert np.isclose(mesh.volume, SOLIDS["torus"].volume, rtol=0.02)


def test_colours_reach_the_vertices():
    cloud = points_of(SOLIDS["sphere"])
    colours = (cloud.points + 1) / 2
    mesh = Reconstruction(64).mesh(PointCloud(cloud.points, cloud.normals, colours.clip(0, 1)))
    expected = (mesh.vertices + 1) / 2
    assert np.abs(mesh.visual.vertex_colors[:, :3] / 255 - expected).max() < spacing(cloud.points)


def test_small_floating_parts_are_removed():
    large, small = trimesh.creation.icosphere(3), trimesh.creation.icosphere(2, radius=0.1)
    small.apply_translation((2, 0, 0))
    both = trimesh.util.concatenate([large, small])
    assert without_small_parts(both.copy(), 0.01).body_count == 1
    assert without_small_parts(both.copy(), 1e-6).body_count == 2


def test_decimation_keeps_the_mesh_closed():
    pytest.importorskip("fast_simplification")
    mesh = Reconstruction(64, faces=500).mesh(points_of(SOLIDS["torus"]))
    assert len(mesh.faces) <= 500
    assert mesh.is_watertight
    assert np.isclose(mesh.volume, SOLIDS["torus"].volume, rtol=0.05)


def test_clouds_without_a_surface_are_refused_with_the_reason():
    random = np.random.default_rng(0)
    for cloud, message in (
        (PointCloud(np.ones((100, 3)), np.eye(3)[np.zeros(100, int)]), "coincide"),
        (PointCloud(random.normal(size=(5, 3))), "5 points are too few for a surface"),
    ):
        with pytest.raises(InputError, match=message):
            Reconstruction(32).mesh(cloud)
    with pytest.raises(InputError, match="16 to 512"):
        Reconstruction(8)
