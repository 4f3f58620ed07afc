import numpy as np
import pytest

from modalities.shape.cloud import Normalisation, PointCloud, Scaling
from multidiff.errors import InputError


def random_cloud(count=50, seed=0):
    random = np.random.default_rng(seed)
    normals = random.normal(size=(count, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return PointCloud(random.normal(size=(count, 3)), normals, random.random((count, 3)))


@pytest.mark.parametrize("channels", [3, 6, 9])
def test_rows_and_back_change_nothing(channels):
    cloud = random_cloud()
    back = PointCloud.from_rows(cloud.rows(channels))
    for name, needed in (("points", 3), ("normals", 6), ("colours", 9)):
        if channels >= needed:
            np.testing.assert_allclose(getattr(back, name), getattr(cloud, name), atol=1e-6)
        else:
            assert getattr(back, name) is None


def test_a_cloud_is_immutable():
    with pytest.raises(ValueError, match="read-only"):
        random_cloud().points[0] = 0


@pytest.mark.parametrize("kind", ["bounding_box", "unit_sphere", "none"])
def test_normalisation_is_undone_exactly(kind):
    points = random_cloud().points * 37 + 11
    normalisation = Normalisation.of(points, kind)
    np.testing.assert_allclose(normalisation.undo(normalisation.apply(points)), points, rtol=1e-6)


def test_normalisations_do_what_they_are_called():
    points = random_cloud().points * 37 + 11
    boxed = Normalisation.of(points, "bounding_box").apply(points)
    np.testing.assert_allclose(boxed.max(axis=0) + boxed.min(axis=0), 0, atol=1e-9)
    assert np.isclose(np.ptp(boxed, axis=0).max(), 2)
    assert np.isclose(np.linalg.norm(Normalisation.of(points, "unit_sphere").apply(points), axis=1).max(), 1)


def test_scaling_gives_unit_deviation_and_is_undone():
    rows = random_cloud(1000).rows(9) * 5 + 2
    scaling = Scaling.of(rows)
    x = scaling.tensor(rows)
    assert x.shape == (9, 1000)
    blocks = x.reshape(3, 3, -1)
    np.testing.assert_allclose(blocks.square().mean(dim=(1, 2)).sqrt(), 1, rtol=1e-3)
    np.testing.assert_allclose(scaling.rows(x), rows, atol=1e-5)


def test_what_is_no_cloud_is_refused():
    for arguments, saying in (
        ((np.zeros((0, 3)),), "at least one point"),
        ((np.full((2, 3), np.nan),), "not all finite"),
        ((np.zeros((2, 3)), np.zeros((1, 3))), "cannot have normals"),
    ):
        with pytest.raises(InputError, match=saying):
            PointCloud(*arguments)
    with pytest.raises(InputError, match="no colours"):
        PointCloud(np.zeros((2, 3)), np.zeros((2, 3))).rows(9)
    with pytest.raises(InputError, match="coincide"):
        Normalisation.of(np.ones((4, 3)), "bounding_box")
