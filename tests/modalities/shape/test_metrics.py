"""Distances between clouds against closed forms and brute force; scores of sets in cases with known answers."""

import itertools

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from modalities.image.modality import ImageModality
from modalities.shape.cloud import PointCloud
from modalities.shape.metrics import (
    CELLS,
    MATCHED_SHAPES,
    ROUNDING,
    PointCloudMetric,
    chamfer,
    divergence,
    earth_mover,
    f_score,
    matching_bound,
    occupancy,
    spread,
)
from modalities.shape.modality import ShapeModality
from multidiff.errors import InputError


def clouds(count, points, seed=0):
    return torch.randn(count, points, 3, generator=torch.Generator().manual_seed(seed)) / 2


SHIFT = torch.tensor([3.0, -4.0, 12.0])
"""A vector of length 13, far larger than a cloud."""


class TestChamfer:
    def test_it_agrees_with_kd_trees(self):
        x, y = clouds(3, 130), clouds(2, 70, seed=1)
        expected = [
            [(cKDTree(b).query(a)[0] ** 2).mean() + (cKDTree(a).query(b)[0] ** 2).mean() for b in y.numpy()]
            for a in x.numpy()
        ]
        np.testing.assert_allclose(chamfer(x, y), expected, rtol=ROUNDING)

    def test_of_coincident_points_and_a_shift_it_is_twice_the_squared_length(self):
        x = torch.zeros(1, 5, 3)
        assert float(chamfer(x, x + SHIFT)) == 2 * 13**2

    def test_order_of_the_points_and_of_the_clouds_does_not_matter(self):
        x, y = clouds(1, 100), clouds(1, 100, seed=1)
        shuffled = x[:, torch.randperm(100, generator=torch.Generator().manual_seed(2))]
        torch.testing.assert_close(chamfer(shuffled, y), chamfer(x, y), rtol=1e-6, atol=0)
        torch.testing.assert_close(chamfer(y, x), chamfer(x, y).T, rtol=1e-6, atol=0)

    def test_a_set_against_itself_is_symmetric_with_zeros(self):
        x = clouds(4, 60)
        own = chamfer(x, x)
        assert torch.equal(own, own.T)
        assert not own.diagonal().any()
        assert torch.equal(own, chamfer(x, x.clone()))

    def test_it_does_not_depend_on_the_number_of_threads(self):
        x, y = clouds(5, 200), clouds(4, 200, seed=1)
        alone = chamfer(x, y)
        torch.set_num_threads(2)
        try:
            assert torch.equal(chamfer(x, y), alone)
            assert torch.get_num_threads() == 2
        finally:
            torch.set_num_threads(1)


class TestEarthMover:
    def test_it_is_the_best_of_all_matchings(self):
        x, y = clouds(1, 6)[0], clouds(1, 6, seed=1)[0]
        orders = itertools.permutations(range(6))
        least = min(float((x - y[list(order)]).double().norm(dim=1).mean()) for order in orders)
        assert earth_mover(x, y) == pytest.approx(least, rel=1e-6)

    def test_of_a_shift_it_is_the_length(self):
        x = clouds(1, 50)[0]
        assert earth_mover(x, x + SHIFT) == pytest.approx(13, rel=1e-6)

    def test_order_of_the_points_does_not_matter(self):
        x, y = clouds(1, 40)[0], clouds(1, 40, seed=1)[0]
        assert earth_mover(x.flip(0), y) == pytest.approx(earth_mover(x, y), rel=1e-12)
        assert earth_mover(x, x.flip(0)) == 0

    def test_the_bound_is_never_above_it_and_tight_where_points_are_far_apart(self):
        x, y = clouds(4, 30), clouds(4, 30, seed=1)
        bounds = matching_bound(x, y)
        assert all(bounds[i, j] <= earth_mover(x[i], y[j]) for i in range(4) for j in range(4))
        corners = 10 * torch.eye(3)[None]
        rounding = 10 * torch.finfo(torch.float32).eps  # of a coordinate
        assert float(matching_bound(corners, corners + 0.1)) == pytest.approx(0.1 * 3**0.5, abs=2 * rounding)


class TestFScore:
    def test_it_is_1_for_copies_and_0_for_distant_clouds(self):
        x = clouds(1, 50)[0]
        assert f_score(x, x.flip(0), 0.01) == 1
        assert f_score(x, x + SHIFT, 0.01) == 0

    def test_it_is_the_harmonic_mean_of_both_directions(self):
        x = torch.tensor([[0.0, 0, 0], [0, 0, 1]])
        y = torch.tensor([[0.0, 0, 0.05], [5, 0, 0], [6, 0, 0], [7, 0, 0]])
        assert f_score(x, y, 0.1) == pytest.approx(2 * (1 / 2) * (1 / 4) / (1 / 2 + 1 / 4))


class TestOccupancy:
    def test_every_point_counts_in_its_cell(self):
        corners = torch.tensor([[[-1.0, -1, -1], [1, 1, 1], [-9, -9, -9]]])
        counts = occupancy(corners, reach=1)
        assert (int(counts[0]), int(counts[-1]), int(counts.sum())) == (2, 1, 3)
        middle = torch.tensor([[[1 / CELLS, 1 / CELLS, 1 / CELLS]]])  # the middle of the cell after the centre
        assert int(occupancy(middle, reach=1).argmax()) == (CELLS // 2) * (CELLS**2 + CELLS + 1)

    def test_divergence_is_0_for_equal_and_1_bit_for_disjoint_histograms(self):
        counts = torch.tensor([3, 1, 0, 0])
        assert divergence(counts, 5 * counts) == 0
        assert divergence(counts, counts.flip(0)) == pytest.approx(1)
        assert divergence(torch.tensor([1, 0]), torch.tensor([1, 1])) == pytest.approx(
            0.75 * np.log2(4 / 3) + 0.25 * np.log2(4) - 0.5
        )  # H(3/4, 1/4) - H(1/2, 1/2) / 2


def scored(generated, real, parts=(slice(None),)):
    return PointCloudMetric(ShapeModality(3)).scores([generated], real, parts)[0]


class TestSets:
    def test_copies_of_the_real_shapes_cover_all(self):
        real = clouds(6, 40)
        (scores,) = scored(real.flip(1), real)
        assert scores["1nna_chamfer"] == scores["1nna_earth_mover"] == 0  # each is nearest to its copy
        assert scores["coverage_chamfer"] == scores["coverage_earth_mover"] == scores["f_score"] == 1
        assert scores["mmd_earth_mover"] == scores["occupancy_divergence"] == 0
        assert scores["mmd_chamfer"] == 0

    def test_of_denser_clouds_as_many_points_are_compared(self):
        """A mesh that was generated has more points than the data."""
        real, extra = clouds(6, 40), clouds(6, 600, seed=2)
        assert scored(torch.cat([real, extra], dim=1), real) == scored(real, real)

    def test_distant_shapes_are_distinguished(self):
        real = clouds(6, 40)
        (scores,) = scored(clouds(6, 40, seed=1) + SHIFT, real)
        assert scores["1nna_chamfer"] == scores["1nna_earth_mover"] == 1
        assert scores["occupancy_divergence"] > 0.9
        assert scores["f_score"] == 0

    def test_one_repeated_shape_covers_one(self):
        real = clouds(5, 40)
        (scores,) = scored(real[:1].expand(5, -1, -1) + 0.01, real)
        assert scores["coverage_chamfer"] == scores["coverage_earth_mover"] == 1 / 5

    def test_parts_are_scored_independently(self):
        generated, real = clouds(8, 30), clouds(8, 30, seed=1)
        parts = [slice(0, 3), slice(3, 8)]
        alone = [scored(generated[part], real[part])[0] for part in parts]
        assert scored(generated, real, [slice(None), *parts])[1:] == alone

    def test_matched_shapes_come_from_every_class(self):
        parts = [slice(0, 100), slice(100, 250), slice(290, 300)]
        few = spread(300, [slice(None), *parts])
        assert len(few) < 1.1 * MATCHED_SHAPES
        assert [sum(row in range(300)[part] for row in few) for part in parts] == [25, 38, 3]
        assert spread(50, [slice(None)]) == list(range(50))

    def test_scores_come_in_the_documented_order(self):
        assert list(scored(clouds(3, 20), clouds(3, 20, seed=1))[0]) == list(PointCloudMetric.best)

    def test_form_keeps_all_points(self):
        cloud = PointCloud(clouds(1, 700)[0].numpy())
        form = PointCloudMetric(ShapeModality(3)).form(cloud)
        assert form.shape == (700, 3)
        assert torch.equal(form.sort(dim=0).values, torch.from_numpy(np.sort(cloud.points, axis=0)))

    def test_other_modalities_are_refused(self):
        with pytest.raises(InputError, match="of the modality image"):
            PointCloudMetric(ImageModality(1))
