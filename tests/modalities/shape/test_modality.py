import numpy as np
import pytest
import torch

from modalities.shape.modality import ShapeModality
from modalities.shape.preview import FRAMES, TILE, contact_sheet, render, turntable
from multidiff.errors import InputError
from multidiff.modality import modality_class
from tests.modalities.shape.test_cloud import random_cloud
from tests.modalities.shape.test_surface import SOLIDS, points_of


def test_the_modality_is_found_by_its_name():
    assert modality_class("shape") is ShapeModality


@pytest.mark.parametrize("channels", [3, 6, 9])
def test_tensors_and_back(channels):
    modality = ShapeModality(channels, mean=[0.5] * channels, deviation=[2.0] * channels)
    cloud = random_cloud()
    x = modality.to_tensor(cloud)
    assert x.shape == (channels, len(cloud))
    np.testing.assert_allclose(modality.to_artifact(x).points, cloud.points, atol=1e-6)


def test_any_finite_values_make_a_cloud():
    cloud = ShapeModality(9).to_artifact(torch.full((9, 4), 1e6))
    assert np.isfinite(cloud.points).all()
    assert cloud.colours.max() <= 1
    np.testing.assert_allclose(np.linalg.norm(cloud.normals, axis=1), 1, rtol=1e-6)


def test_other_channels_are_refused():
    with pytest.raises(InputError, match="3 \\(points\\), 6"):
        ShapeModality(4)


@pytest.mark.parametrize("suffix", [".ply", ".npz", ".glb", ".stl"])
def test_what_is_written_is_read(tmp_path, suffix):
    modality, cloud = ShapeModality(6), points_of(SOLIDS["sphere"], 1024)
    modality.write(cloud, tmp_path / f"ball{suffix}", {})
    radii = np.linalg.norm(modality.read(tmp_path / f"ball{suffix}").points, axis=1)
    assert abs(radii - 1).max() < 0.05


def test_a_ball_is_drawn_as_a_lit_disc():
    picture = np.asarray(render(points_of(SOLIDS["sphere"], 2048))).astype(int)
    assert picture.shape == (TILE, TILE, 3)
    empty = (picture == picture[0, 0]).all(axis=2)
    rows, columns = np.indices(empty.shape) - (TILE - 1) / 2
    radius = TILE / 2 * 0.98 / np.sqrt(3)  # the picture holds the box of the points, whose half diagonal is 1
    distance = np.hypot(rows, columns)
    assert empty[distance < radius - 2].mean() < 0.01
    assert empty[distance > radius * 1.1].all()
    above, below = (picture[TILE // 2 + shift, TILE // 2].sum() for shift in (-30, 30))
    assert above > below


def test_sheets_and_turns():
    clouds = [points_of(solid, 200) for solid in SOLIDS.values()]
    assert contact_sheet(clouds).size == (2 * TILE, 2 * TILE)
    frames = turntable(clouds[:1])
    assert len(frames) == FRAMES
    assert frames[0].tobytes() != frames[FRAMES // 4].tobytes()
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([])
