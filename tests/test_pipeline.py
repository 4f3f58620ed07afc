"""A pipeline gives sample i of a seed, whatever else is asked for."""

import pytest
import torch
from PIL.Image import Image

import multidiff
from multidiff.errors import InputError
from tests.tiny import tiny_train


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("pipeline") / "run"
    tiny_train(run_dir, "trainer.max_steps=3", "optimizer.lr=1e-2", "warmup_steps=0", "ema=constant")
    return multidiff.load(run_dir)


def pixels(images):
    return [list(image.tobytes()) for image in images]


def close(images, others):
    """Rounding may differ by one gray level: a matrix product of 64 rows adds in another order than one of 1."""
    differences = [
        abs(a - b) for x, y in zip(pixels(images), pixels(others), strict=True) for a, b in zip(x, y, strict=True)
    ]
    return max(differences) <= 1


def test_samples_are_pil_images_of_the_training_size(pipeline):
    images = pipeline.sample(4, label=3, steps=5, seed=0)
    assert len(images) == 4
    assert all(isinstance(image, Image) and image.size == (8, 8) and image.mode == "L" for image in images)


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "ddpm"])
def test_the_first_four_of_forty_are_those_of_four(pipeline, sampler):
    four = pipeline.sample(4, label="3", sampler=sampler, steps=5)
    assert close(pipeline.sample(40, label="3", sampler=sampler, steps=5)[:4], four)
    assert close(pipeline.sample(4, label="3", sampler=sampler, steps=5, batch_size=1), four)
    assert pixels(pipeline.sample(4, label="3", sampler=sampler, steps=5)) == pixels(four)


def test_seeds_labels_and_guidance_matter(pipeline):
    base = pixels(pipeline.sample(2, label=3, steps=5))
    assert base[0] != base[1]
    assert pixels(pipeline.sample(2, label=3, steps=5, seed=1)) != base
    assert pixels(pipeline.sample(2, label=4, steps=5)) != base
    assert pixels(pipeline.sample(2, label=3, steps=5, guidance=4.0)) != base
    assert pixels(pipeline.sample(2, steps=5)) != base
    assert pixels(pipeline.sample(2, label=3, steps=5, guidance=0.0)) == pixels(pipeline.sample(2, steps=5))


def test_several_labels_are_taken_in_turn(pipeline):
    assert pipeline.conditions(5, label=[1, "7"]) == ["1", "7", "1", "7", "1"]


def test_a_sampler_by_name_brings_its_own_steps(pipeline):
    assert pipeline.sampling.changed("ddpm", None, None).sampler["steps"] == 250
    assert pipeline.sampling.changed("ddpm", 7, 2.0).sampler["steps"] == 7
    assert pipeline.sampling.changed(None, None, 2.0).guidance == 2


def test_the_dtype_of_the_weights_is_the_dtype_of_the_samples(pipeline):
    single = pipeline.sample_tensor([1], ["3"], pipeline.sampling)
    pipeline.model.double()
    double = pipeline.sample_tensor([1], ["3"], pipeline.sampling)
    pipeline.model.float()
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    torch.testing.assert_close(single.double(), double, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"n": 0}, "at least 1, got 0"),
        ({"label": 11}, "'11'; it knows: 0, 1, 2"),
        ({"label": []}, "empty"),
        ({"prompt": "a cat"}, "not trained with a prompt: it takes labels"),
        ({"sampler": "fast"}, "no sampler is called 'fast'"),
        ({"steps": 0}, "at least 1 step"),
        ({"guidance": -1.0}, "guidance scale"),
        ({"batch_size": 0}, "batch size"),
    ],
)
def test_a_wrong_request_is_explained(pipeline, request_, message):
    with pytest.raises(InputError, match=message):
        pipeline.sample(**request_)


def test_an_unknown_argument_is_an_error(pipeline):
    with pytest.raises(TypeError):
        pipeline.sample(1, cfg_scale=3.0)
