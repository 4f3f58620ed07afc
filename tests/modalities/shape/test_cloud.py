import numpy as np
import pytest

from modalities.shape.cloud import Normalisation, PointCloud
from multidiff.errors import InputError


def random_cloud(count=50, seed=0):
    random = np.random.default_rng(seed)
    normals = random.normal(size=(count, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return PointCloud(random.normal(size=(count, 3)), normals, random.random((count, 3)))


@pytest.mark.parametrize("channels", [3, 6, 9])
def test_rows_are_inverted_by_from_rows(channels):
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


def test_normalisations_give_their_size_and_keep_normals():
    cloud = random_cloud()
    moved = PointCloud(cloud.points * 37 + 11, cloud.normals)
    boxed, in_sphere, same = (
        Normalisation.of(moved.points, kind)(moved) for kind in ("bounding_box", "unit_sphere", "none")
    )
    np.testing.assert_allclose(boxed.points.max(axis=0) + boxed.points.min(axis=0), 0, atol=1e-6)
    assert np.isclose(np.ptp(boxed.points, axis=0).max(), 2)
    assert np.isclose(np.linalg.norm(in_sphere.points, axis=1).max(), 1)
    assert np.array_equal(same.points, moved.points)
    assert np.array_equal(boxed.normals, cloud.normals)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((0, 3)),), "at least one point"),
        ((np.full((2, 3), np.nan),), "not all finite"),
        ((np.zeros((2, 3)), np.zeros((1, 3))), "cannot have normals"),
    ],
)
def test_arrays_that_form_no_cloud_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        PointCloud(*arguments)


def test_missing_channels_are_refused_with_the_number_that_fits():
    cloud = random_cloud()
    with pytest.raises(InputError, match=r"has no colours, .* set modality\.channels=6"):
        PointCloud(cloud.points, cloud.normals).rows(9)
    with pytest.raises(InputError, match=r"has no normals, .* set modality\.channels=3"):
        PointCloud(cloud.points).rows(6)


def test_coincident_points_and_unknown_kinds_are_refused():
    with pytest.raises(InputError, match="coincide"):
        Normalisation.of(np.ones((4, 3)), "bounding_box")
    with pytest.raises(InputError, match="one of bounding_box, unit_sphere, none"):
        Normalisation.of(np.eye(3), "cube")
