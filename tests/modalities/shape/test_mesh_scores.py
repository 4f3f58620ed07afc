"""F-score and roughness of meshes."""

import numpy as np
import pytest
import trimesh

from modalities.shape.mesh_scores import NEIGHBOURS, roughness, surface_f_score


def test_a_box_is_smooth_away_from_its_edges():
    assert roughness(trimesh.creation.box(), trimesh.creation.box()) == pytest.approx(0, abs=1e-3)
    assert roughness(trimesh.creation.box()) == pytest.approx(0, abs=1e-3)  # pairs across the edges are left out


def test_a_sphere_has_its_curvature():
    """Two points at a distance d of a sphere of radius r have normals d / r apart; d is 2/3 of its limit on average."""
    sphere = trimesh.creation.icosphere(6)
    expected = np.degrees(2 / 3 * NEIGHBOURS * 2)
    assert roughness(sphere) == pytest.approx(expected, rel=0.2)


def test_lumps_are_rough_whatever_the_triangles():
    sphere = trimesh.creation.icosphere(5)
    lumpy = sphere.copy()
    lumpy.vertices *= 1 + 0.01 * np.sin(30 * lumpy.vertices[:, :1])
    assert roughness(lumpy) > 2 * roughness(sphere)
    assert roughness(lumpy.subdivide()) == pytest.approx(roughness(lumpy), rel=0.05)


def test_the_f_score_counts_what_is_within_a_percent():
    pytest.importorskip("igl")
    box = trimesh.creation.box((1, 1, 1))
    moved = box.copy().apply_translation([0, 0, 0.02])
    assert surface_f_score(box, box) == 1
    assert surface_f_score(moved, box) == pytest.approx(4 / 6, abs=0.02)  # four sides slide along themselves
