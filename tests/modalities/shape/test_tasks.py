"""What a trained model is asked for beside samples: variations, interpolation, and the completion of a part."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from modalities.shape.cloud import PointCloud
from modalities.shape.modality import ShapeModality
from modalities.shape.transformer import LatentPointTransformer
from multidiff.conditioners import Unconditional
from multidiff.diffusion.denoiser import NetworkDenoiser
from multidiff.diffusion.predictions import Velocity
from multidiff.diffusion.schedules import Cosine
from multidiff.errors import InputError
from multidiff.model import Model
from multidiff.sampling.pipeline import Pipeline
from multidiff.sampling.plan import Sampling, load_sampler
from tests.modalities.shape.test_surface import SOLIDS, points_of

POINTS = 64


@pytest.fixture
def pipeline():
    """A network that knows nothing, but answers differently to every cloud."""
    torch.manual_seed(0)
    sizes = {"width": 16, "latents": 4, "latent_width": 16, "rounds": 1, "thinking": 1, "head_size": 8}
    network = LatentPointTransformer(channels=6, **sizes)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model = Model(NetworkDenoiser(network, Cosine(), Velocity()), Unconditional())
    sampling = Sampling({**load_sampler("dpmpp_2m"), "steps": 4})
    return Pipeline(model, ShapeModality(6), (6, POINTS), sampling)


def distance(a, b):
    return float(np.abs(a.points - b.points).max())


def test_a_resized_pipeline_draws_so_many_points(pipeline):
    assert [len(pipeline.resized(count).sample(1)[0]) for count in (1, 7, 200)] == [1, 7, 200]
    with pytest.raises(InputError, match="at least 1 point"):
        pipeline.resized(0)


def test_completion_keeps_the_part_that_is_given(pipeline):
    part = points_of(SOLIDS["torus"], POINTS // 2)
    first, second = pipeline.inpaint(part, 0.5, n=2, repeats=2)
    given, made, other = (cloud.rows(6) for cloud in (part, first, second))
    order = cKDTree(given[:, :3]).query(made[: POINTS // 2, :3])[1]
    assert set(order) == set(range(POINTS // 2))
    assert np.allclose(made[: POINTS // 2], given[order], atol=1e-5)
    assert np.abs(made[POINTS // 2 :] - other[POINTS // 2 :]).min() > 0
    assert len(first) == POINTS


def test_a_part_without_normals_is_given_some(pipeline):
    part = points_of(SOLIDS["sphere"], 500)
    seen = pipeline.modality.to_artifact(pipeline.canvas.tensor(PointCloud(part.points)))
    assert ((seen.normals * seen.points).sum(axis=1) > 0.8).all()


def test_a_shape_is_varied_the_more_the_stronger(pipeline):
    shape = points_of(SOLIDS["torus"], POINTS)
    seen = pipeline.modality.to_artifact(pipeline.canvas.tensor(shape))
    near, far = (pipeline.sample(1, init=shape, strength=strength)[0] for strength in (0.01, 0.9))
    assert distance(near, seen) < 0.1 < distance(far, seen)


def test_interpolation_goes_from_one_seed_to_another(pipeline):
    ends = [pipeline.sample(1, seed=seed)[0] for seed in (1, 2)]
    way = pipeline.interpolate(1, 2, n=9)
    assert distance(way[0], ends[0]) < 1e-4 > distance(way[-1], ends[1])
    steps = [distance(a, b) for a, b in pairwise(way)]
    assert 0 < max(steps) < distance(*ends)


def test_variations_of_a_seed_move_with_their_amount(pipeline):
    (base,) = pipeline.sample(1, seed=3)
    none, little, much = (pipeline.variations(3, n=1, amount=amount)[0] for amount in (0, 0.05, 0.9))
    assert distance(none, base) < 1e-4 < distance(little, base) < distance(much, base)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda pipe, cloud: pipe.inpaint(cloud, 0), "between 0 and 1, got 0"),
        (lambda pipe, cloud: pipe.inpaint(PointCloud(cloud.points * 50), 0.5), "scale of the model's samples"),
        (lambda pipe, cloud: pipe.sample(1, init=cloud, strength=2), "strength is above 0"),
    ],
)
def test_wrong_tasks_are_explained(pipeline, draw, message):
    with pytest.raises(InputError, match=message):
        draw(pipeline, points_of(SOLIDS["torus"], POINTS))
