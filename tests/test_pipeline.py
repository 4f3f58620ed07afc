"""A pipeline gives sample i of a seed, whatever else is asked for."""

import numpy as np
import pytest
import torch
from PIL import Image

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
    assert all(isinstance(image, Image.Image) and image.size == (8, 8) and image.mode == "L" for image in images)


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
        ({"init": Image.new("L", (8, 8)), "strength": 0.0}, "strength is above 0"),
        ({"init": Image.new("L", (8, 8)), "strength": 1.1}, "strength is above 0"),
        ({"init": Image.new("L", (9, 8)), "strength": 0.5}, r"shape \(1, 8, 8\), and the one given is \(1, 8, 9\)"),
        ({"init": Image.new("L", (8, 8))}, "come together"),
        ({"strength": 0.5}, "come together"),
    ],
)
def test_a_wrong_request_is_explained(pipeline, request_, message):
    with pytest.raises(InputError, match=message):
        pipeline.sample(**request_)


def test_an_unknown_argument_is_an_error(pipeline):
    with pytest.raises(TypeError):
        pipeline.sample(1, cfg_scale=3.0)
    with pytest.raises(TypeError):
        pipeline.variations(1, 2, cfg_scale=3.0)


def test_sampling_starts_from_a_given_image(pipeline):
    (init,) = pipeline.sample(1, label=3)
    near = pipeline.sample(2, label=3, init=init, strength=0.01)
    far = pipeline.sample(2, label=3, init=init, strength=0.9)
    assert distance(near[0], init) < distance(far[0], init)
    assert pixels(far)[0] != pixels(far)[1]


def test_inpainting_keeps_what_is_not_masked(pipeline):
    (image,) = pipeline.sample(1, label=3)
    mask = np.zeros((8, 8), dtype=bool)
    mask[:, 4:] = True
    painted = pipeline.inpaint(image, mask, n=3, label=5, steps=4, repeats=2)
    known = [np.array(x)[:, :4].tolist() for x in [image, *painted]]
    assert known.count(known[0]) == 4
    assert len({x.tobytes() for x in painted}) == 3
    by_picture = pipeline.inpaint(image, Image.fromarray(mask), n=3, label=5, steps=4, repeats=2, batch_size=2)
    assert close(by_picture, painted)


def test_interpolation_ends_at_the_samples_of_both_seeds(pipeline):
    between = pipeline.interpolate(1, 2, 5, label=3, steps=5, batch_size=2)
    assert len(between) == 5
    assert close(between[:1], pipeline.sample(1, label=3, steps=5, seed=1))
    assert close(between[4:], pipeline.sample(1, label=3, steps=5, seed=2))


def test_variations_lead_from_one_sample_to_the_next_ones(pipeline):
    samples = pipeline.sample(4, label=3, steps=5, seed=7)
    assert close(pipeline.variations(7, 3, 0.0, label=3, steps=5), [samples[0]] * 3)
    assert close(pipeline.variations(7, 3, 1.0, label=3, steps=5), samples[1:])
    some = pipeline.variations(7, 3, 0.2, label=3, steps=5)
    assert all(distance(x, samples[0]) < distance(x, other) for x, other in zip(some, samples[1:], strict=True))


def distance(image, other):
    return np.abs(np.array(image, dtype=float) - np.array(other, dtype=float)).mean()


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda pipe: pipe.inpaint(Image.new("L", (8, 8)), np.ones((3, 3))), "could not be broadcast|broadcast"),
        (lambda pipe: pipe.inpaint(Image.new("L", (8, 8)), np.ones((8, 8)), repeats=0), "at least once"),
        (lambda pipe: pipe.interpolate(1, 1), "between two seeds"),
        (lambda pipe: pipe.interpolate(1, 2, 1), "at least 2"),
        (lambda pipe: pipe.variations(1, 2, 1.5), "from 0 to 1, got 1.5"),
        (lambda pipe: pipe.variations(1, 0), "at least 1, got 0"),
    ],
)
def test_wrong_edits_are_explained(pipeline, draw, message):
    with pytest.raises(InputError, match=message):
        draw(pipeline)
