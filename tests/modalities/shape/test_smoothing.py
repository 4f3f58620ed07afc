"""Smoothing takes the waves of learned distances away, and keeps edges, thin parts and sizes."""

import numpy as np
import pytest
import torch
import trimesh

from modalities.shape.mesh_scores import roughness, surface_f_score
from modalities.shape.smoothing import smoothed
from modalities.shape.volume import evaluate, to_mesh

RESOLUTION = 64


def box(*sides):
    half = torch.tensor(sides) / 2

    def distances(points):
        beyond = points.abs() - half
        return beyond.clamp(min=0).norm(dim=1) + beyond.amax(1).clamp(max=0)

    return distances


def sphere(points):
    return points.norm(dim=1) - 0.8


def mesh_of(field, wave=0.0):
    """The mesh of distances to which waves of a length of 0.3 are added."""

    def wavy(points):
        return field(points) + wave * torch.sin(21 * points).prod(1)

    return to_mesh(evaluate(wavy, RESOLUTION, 0.2, torch.zeros(())).numpy())


def distance(mesh, field):
    """The mean distance of the vertices of ``mesh`` to the true surface."""
    return field(torch.from_numpy(np.array(mesh.vertices)).float()).abs().mean().item()


def test_waves_go_and_edges_stay():
    truth, sides = trimesh.creation.box((1.6, 1.0, 0.8)), box(1.6, 1.0, 0.8)
    wavy = mesh_of(sides, 0.01)
    smooth = smoothed(wavy)
    assert smooth.is_watertight
    assert roughness(smooth, truth) < roughness(wavy, truth) / 2
    assert distance(smooth, sides) < distance(wavy, sides)
    assert surface_f_score(smooth, truth) >= surface_f_score(wavy, truth)


@pytest.mark.parametrize(("field", "tolerance"), [(sphere, 0.005), (box(1.6, 1.0, 0.03), 0.05)], ids=["ball", "plate"])
def test_volumes_stay(field, tolerance):
    mesh = mesh_of(field)
    assert smoothed(mesh).volume == pytest.approx(mesh.volume, rel=tolerance)


def test_a_smooth_mesh_stays():
    mesh = mesh_of(box(1.6, 1.0, 0.8))
    moved = np.linalg.norm(smoothed(mesh).vertices - mesh.vertices, axis=1)
    assert moved.mean() < 0.1 * mesh.edges_unique_length.mean()


def test_the_smallest_mesh_is_kept():
    assert smoothed(to_mesh(np.ones(3 * [16]))).is_watertight


def test_the_scale_and_the_place_do_not_matter():
    mesh = mesh_of(box(1.6, 1.0, 0.8), 0.01)
    moved = trimesh.Trimesh(3 * mesh.vertices + 5, mesh.faces, process=False)
    np.testing.assert_allclose(smoothed(moved).vertices, 3 * smoothed(mesh).vertices + 5, atol=3e-3)


def test_a_triangle_without_a_normal_gets_that_of_its_neighbours():
    mesh = mesh_of(sphere)
    vertices = np.array(mesh.vertices)
    first, second, third = mesh.faces[0]
    vertices[second] = (vertices[first] + vertices[third]) / 2
    needle = trimesh.Trimesh(vertices, mesh.faces, process=False)
    assert not needle.face_normals[0].any()
    smooth = smoothed(needle)
    outwards = smooth.triangles_center[0] / np.linalg.norm(smooth.triangles_center[0])
    assert smooth.face_normals[0] @ outwards > 0.95
