"""Volumes of signed distances and their meshes."""

import numpy as np
import pytest
import torch

from modalities.shape.volume import REACH, check_resolution, evaluate, side, to_mesh
from multidiff.errors import InputError

RADIUS = 0.79
NONE = 1e-9
"""A truncation below which nothing is coarse."""


def sphere(points):
    return (points.norm(dim=1) - RADIUS).clamp(-0.1, 0.1)


@pytest.mark.parametrize("resolution", [33, 64])
def test_a_sphere_has_its_volume_and_area(resolution):
    """Vertices and the planes between them lie within h^2 / (2 r) of a sphere of radius r.

    Distances along an edge of length h bend by at most h^2 / (8 r), and chords of a cell, of length h sqrt(3), lie at
    most 3 h^2 / (8 r) below the sphere. Volumes go with the cube of the radius.
    """
    mesh = to_mesh(evaluate(sphere, resolution, 0.1, torch.zeros(())).numpy())
    bound = 3 * (side(resolution) / RADIUS) ** 2 / 2
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=bound)
    assert mesh.area == pytest.approx(4 * np.pi * RADIUS**2, rel=bound)


@pytest.mark.parametrize("resolution", [67, 90])
def test_coarse_to_fine_gives_the_mesh_of_all_nodes_from_a_fraction_of_them(resolution):
    asked = []

    def counted(points):
        asked.append(len(points))
        return sphere(points)

    meshes = [
        to_mesh(evaluate(field, resolution, truncation, torch.zeros(())).numpy())
        for field, truncation in ((counted, 0.1), (sphere, NONE))
    ]
    assert meshes[0].vertices == pytest.approx(meshes[1].vertices, abs=1e-5)
    assert sum(asked) < resolution**3 / 2


@pytest.mark.parametrize("values", ["inside", "outside", "zero", "noise", "huge"])
def test_any_volume_gives_a_watertight_mesh(values):
    noise = np.random.default_rng(0).standard_normal((20, 20, 20))
    volume = {"inside": -np.ones_like(noise), "outside": np.ones_like(noise), "zero": 0 * noise, "noise": noise}
    mesh = to_mesh(volume.get(values, 1e6 * noise.round(1)))
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.volume > 0
    assert np.abs(mesh.vertices).max() < REACH


@pytest.mark.parametrize("resolution", [8, 4096, 64.0])
def test_unusable_resolutions_are_refused(resolution):
    with pytest.raises(InputError, match="resolution is 16 to 1024"):
        check_resolution(resolution)
