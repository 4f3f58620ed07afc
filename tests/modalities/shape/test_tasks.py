"""What a model does beside sampling: other numbers of points, variation, interpolation, and completion of a part."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from modalities.shape.cloud import PointCloud
from modalities.shape.modality import ShapeModality
from modalities.shape.transformer import LatentPointTransformer
from multidiff.codecs import Scaling
from multidiff.conditioners import Conditioner
from multidiff.diffusion.denoiser import NetworkDenoiser
from multidiff.diffusion.predictions import Velocity
from multidiff.diffusion.schedules import Cosine
from multidiff.errors import InputError
from multidiff.model import Model
from multidiff.sampling.pipeline import Pipeline
from multidiff.sampling.sampler_config import load_sampler
from tests.modalities.shape.test_surface import SOLIDS, points_of

POINTS = 64


@pytest.fixture
def pipeline():
    """A network with random weights, which answers differently to every cloud."""
    torch.manual_seed(0)
    sizes = {"width": 16, "latents": 4, "latent_width": 16, "rounds": 1, "latent_blocks": 1, "head_size": 8}
    network = LatentPointTransformer(channels=6, **sizes)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    codec = Scaling([0.1] * 6, [0.5] * 3 + [0.6] * 3, shared=3)
    model = Model(codec, Conditioner({}), NetworkDenoiser(network, Cosine(), Velocity()))
    return Pipeline(model, ShapeModality(6), (6, POINTS), {**load_sampler("dpmpp_2m"), "steps": 4})


def distance(a, b):
    return float(np.abs(a.points - b.points).max())


def fitted(pipeline, cloud):
    """The cloud with as many points as the model generates."""
    return pipeline.modality.to_artifact(pipeline.modality.fitted(cloud, pipeline.data_shape))


def test_a_pipeline_generates_any_number_of_points(pipeline):
    assert [len(pipeline.sample(1, fields={"points": count})[0]) for count in (1, 7, 200)] == [1, 7, 200]
    with pytest.raises(InputError, match="at least 1, not 0"):
        pipeline.resized(points=0)
    with pytest.raises(InputError, match="one setting: points"):
        pipeline.sample(1, fields={"seconds": 2})


def test_completion_keeps_the_given_part(pipeline):
    part = points_of(SOLIDS["torus"], POINTS // 2)
    first, second = pipeline.inpaint(part, 0.5, n=2, repeats=2)
    given, completed, other = (cloud.rows(6) for cloud in (part, first, second))
    order = cKDTree(given[:, :3]).query(completed[: POINTS // 2, :3])[1]
    assert set(order) == set(range(POINTS // 2))
    assert np.allclose(completed[: POINTS // 2], given[order], atol=1e-5)
    assert np.abs(completed[POINTS // 2 :] - other[POINTS // 2 :]).min() > 0
    assert len(first) == POINTS


def test_variation_grows_with_its_strength(pipeline):
    shape = points_of(SOLIDS["torus"], POINTS)
    near, far = (pipeline.sample(1, init=shape, strength=strength)[0] for strength in (0.01, 0.9))
    assert distance(near, fitted(pipeline, shape)) < 0.1 < distance(far, fitted(pipeline, shape))


def test_interpolation_leads_from_one_seed_to_another(pipeline):
    ends = [pipeline.sample(1, seed=seed)[0] for seed in (1, 2)]
    path = pipeline.interpolate(1, 2, n=9)
    assert distance(path[0], ends[0]) < 1e-4 > distance(path[-1], ends[1])
    steps = [distance(a, b) for a, b in pairwise(path)]
    assert 0 < max(steps) < distance(*ends)


def test_variations_of_a_seed_move_with_their_amount(pipeline):
    (base,) = pipeline.sample(1, seed=3)
    none, little, much = (pipeline.variations(3, n=1, amount=amount)[0] for amount in (0, 0.05, 0.9))
    assert distance(none, base) < 1e-4 < distance(little, base) < distance(much, base)


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (lambda pipe, cloud: pipe.inpaint(cloud, 0), "between 0 and 1, got 0"),
        (lambda pipe, cloud: pipe.inpaint(PointCloud(cloud.points * 50), 0.5), "like the model's samples"),
        (lambda pipe, cloud: pipe.sample(1, init=cloud, strength=2), "strength must be above 0"),
        (lambda pipe, cloud: pipe.extend(cloud, 8), "a shape has no end that could be extended"),
    ],
)
def test_wrong_edits_are_explained(pipeline, sample, message):
    with pytest.raises(InputError, match=message):
        sample(pipeline, points_of(SOLIDS["torus"], POINTS))
