from functools import partial

import numpy as np
import pytest
import torch

from modalities.shape.cloud import PointCloud
from modalities.shape.modality import ShapeModality
from modalities.shape.preview import FRAMES, TILE, contact_sheet, render, turntable
from modalities.shape.surface import Reconstruction
from multidiff.errors import InputError
from tests.modalities.shape.test_cloud import random_cloud
from tests.modalities.shape.test_surface import SOLIDS, points_of

STORY = {"seed": 3, "samples": [{"label": "ä chair"}] * 3}


@pytest.mark.parametrize("channels", [3, 6, 9])
def test_data_are_inverted_by_artifacts(channels):
    modality, cloud = ShapeModality(channels), random_cloud()
    data = modality.to_data(cloud)
    assert (data.shape, data.dtype) == ((channels, len(cloud)), torch.float32)
    assert np.array_equal(data[:3].T.numpy(), cloud.points)
    torch.testing.assert_close(modality.to_data(modality.to_artifact(data)), data, rtol=0, atol=1e-6)


def test_any_finite_values_give_a_cloud():
    cloud = ShapeModality(9).to_artifact(torch.full((9, 4), 1e30))
    assert np.isfinite(cloud.points).all()
    assert cloud.colours.max() <= 1
    np.testing.assert_allclose(np.linalg.norm(cloud.normals, axis=1), 1, rtol=1e-6)


def test_other_settings_are_refused():
    with pytest.raises(InputError, match="3 \\(points\\), 6"):
        ShapeModality(4)
    with pytest.raises(InputError, match="one of bounding_box, unit_sphere, none, not 'cube'"):
        ShapeModality(3, "cube")


@pytest.mark.parametrize("suffix", [".ply", ".npz", ".glb", ".obj", ".stl"])
def test_written_files_are_read_with_their_metadata(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr("modalities.shape.modality.Reconstruction", partial(Reconstruction, 48))
    modality, cloud, path = ShapeModality(6), points_of(SOLIDS["sphere"], 1024), tmp_path / f"ball{suffix}"
    modality.write(cloud, path, STORY)
    radii = np.linalg.norm(modality.read(path).points, axis=1)
    assert abs(radii - 1).max() < 0.05
    assert modality.metadata(path) == ({} if suffix == ".stl" else STORY)
    again = tmp_path / f"again{suffix}"
    modality.write(cloud, again, modality.metadata(path))
    assert again.read_bytes() == path.read_bytes()


def test_the_number_of_points_is_the_one_setting_of_a_size():
    modality = ShapeModality(6)
    assert modality.resized((6, 128), points=300) == (6, 300)
    for settings, message in (
        ({"points": 0}, "at least 1, not 0"),
        ({"points": "many"}, "at least 1, not 'many'"),
        ({"seconds": 2}, "seconds: not a field of this model, and shapes have one setting: points"),
    ):
        with pytest.raises(InputError, match=message):
            modality.resized((6, 128), **settings)
    assert [modality.settings_for((6, count)) for count in (64, 8192)] == [{"points": 64}, {"points": 2048}]


def test_a_region_is_a_fraction_of_the_points():
    modality = ShapeModality(3)
    mask = modality.mask((3, 8), *modality.region("0.25"))
    assert mask.tolist() == [[False] * 6 + [True] * 2] * 3
    for fraction, message in ((1, "between 0 and 1"), (0.999, "leaves none to keep"), (0.001, "none to regenerate")):
        with pytest.raises(InputError, match=message):
            modality.mask((3, 8), fraction)
    with pytest.raises(InputError, match=r"a number such as 0\.5, not 'left'"):
        modality.region("left")


def test_clouds_are_fitted_to_a_number_of_points():
    modality, cloud = ShapeModality(3), random_cloud(50)
    modality_of_normals, ball = ShapeModality(6), points_of(SOLIDS["sphere"], 500)
    small = PointCloud(cloud.points / 10)
    rows = {tuple(row) for row in modality.fitted(small, (3, 120)).T.tolist()}
    assert rows == {tuple(row) for row in small.points.tolist()}
    estimated = modality_of_normals.to_artifact(modality_of_normals.fitted(PointCloud(ball.points), (6, 64)))
    assert ((estimated.normals * estimated.points).sum(axis=1) > 0.8).all()
    with pytest.raises(InputError, match="like the model's samples"):
        modality.fitted(PointCloud(cloud.points * 50), (3, 50))


def test_comparable_clouds_have_the_points_and_the_size_of_the_data():
    modality, cloud = ShapeModality(6), points_of(SOLIDS["box"], 1000)
    same = modality.comparable(cloud, (6, 100), foreign=False)
    assert {tuple(row) for row in same.points.tolist()} < {tuple(row) for row in cloud.points.tolist()}
    large = modality.comparable(PointCloud(cloud.points * 1000, cloud.normals), (6, 500), foreign=True)
    assert (len(same), len(large)) == (100, 500)
    assert np.isclose(np.ptp(large.points, axis=0).max(), 2)
    with pytest.raises(InputError, match="has 1000 points and the data 9000"):
        modality.comparable(cloud, (6, 9000), foreign=False)
    with pytest.raises(InputError, match="has no normals"):
        modality.comparable(PointCloud(cloud.points), (6, 500), foreign=False)


def test_a_ball_is_rendered_as_a_lit_disc():
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


def test_contact_sheets_and_turntables():
    clouds = [points_of(solid, 200) for solid in SOLIDS.values()]
    assert contact_sheet(clouds).size == (2 * TILE, 2 * TILE)
    frames = turntable(clouds[:1])
    assert len(frames) == FRAMES
    assert frames[0].tobytes() != frames[FRAMES // 4].tobytes()
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([])
