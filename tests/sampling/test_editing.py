"""Samples that start from another: variations, inpainting, extension and interpolation."""

import numpy as np
import pytest
from PIL import Image

from multidiff.errors import InputError
from tests.sampling.images import close, pixels


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


def test_an_image_is_extended_to_the_right(pipeline):
    (image,) = pipeline.sample(1, label=3)
    longer = pipeline.extend(image, 9, n=2, label=5, steps=4, repeats=2)
    assert [x.size for x in longer] == [(17, 8)] * 2
    assert all(np.array_equal(np.array(x)[:, :8], np.array(image)) for x in longer)
    assert pixels(longer)[0] != pixels(longer)[1]
    (longest,) = pipeline.extend(longer[0], 1, label=5, steps=4, repeats=2)
    assert longest.size == (18, 8)


def test_interpolation_ends_at_the_samples_of_both_seeds(pipeline):
    between = pipeline.interpolate(1, 2, 5, label=3, steps=5, batch_size=2)
    assert len(between) == 5
    assert close(between[:1], pipeline.sample(1, label=3, steps=5, seed=1))
    assert close(between[4:], pipeline.sample(1, label=3, steps=5, seed=2))


def test_variations_run_from_one_sample_to_the_next_ones(pipeline):
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
        (
            lambda pipe: pipe.inpaint(Image.new("L", (8, 8)), np.ones((3, 3))),
            r"mask has the shape \(3, 3\), and the sam",
        ),
        (
            lambda pipe: pipe.inpaint(Image.new("L", (8, 8)), np.ones((8, 8)), repeats=0),
            "repeats must be .* at least 1, got 0",
        ),
        (lambda pipe: pipe.inpaint(Image.new("L", (8, 8)), np.ones((8, 8)), repeats=1.5), "an integer .*, got 1.5"),
        (lambda pipe: pipe.extend(Image.new("L", (8, 8)), 4, repeats=1.5), "repeats must be an integer .*, got 1.5"),
        (lambda pipe: pipe.inpaint(Image.new("L", (8, 8)), np.zeros((8, 8))), "the mask is false everywhere"),
        (lambda pipe: pipe.inpaint(Image.new("L", (8, 8)), Image.new("L", (8, 8))), "the mask is false everywhere"),
        (lambda pipe: pipe.inpaint(Image.new("L", (8, 8)), np.full((8, 8), np.nan)), "a mask holds true .* got NaN"),
        (lambda pipe: pipe.inpaint(Image.new("L", (8, 8)), {"left": 4}), "a mask holds true .* got {'left': 4}"),
        (lambda pipe: pipe.inpaint(Image.new("L", (8, 8)), None), "a mask holds true .* got None"),
        (lambda pipe: pipe.inpaint(Image.new("L", (8, 8)), "mask.png"), "the part to regenerate is one mask"),
        (lambda pipe: pipe.inpaint(Image.new("L", (8, 8))), "the part to regenerate is one mask"),
        (lambda pipe: pipe.extend(Image.new("L", (8, 8)), "4"), "amount is a number, got '4'"),
        (lambda pipe: pipe.variations(1, 2, "x"), "from 0 to 1, got 'x'"),
        (lambda pipe: pipe.extend(Image.new("L", (8, 8)), 0), "takes an amount above 0, got 0"),
        (
            lambda pipe: pipe.extend(Image.new("L", (8, 9)), 1),
            r"extends samples of \(1, 8\), and the one given is \(1, 9\)",
        ),
        (lambda pipe: pipe.extend(Image.new("L", (8, 8)), 1, overlap=1.0), "between 0 and 1, got 1.0"),
        (lambda pipe: pipe.interpolate(1, 1), "two different seeds"),
        (lambda pipe: pipe.interpolate(1, 2, 1), "at least 2"),
        (lambda pipe: pipe.interpolate(1, 2**70), "64 bits"),
        (lambda pipe: pipe.variations(2**70), "64 bits"),
        (lambda pipe: pipe.variations(1, 2, 1.5), "from 0 to 1, got 1.5"),
        (lambda pipe: pipe.variations(1, 0), "at least 1, got 0"),
    ],
)
def test_wrong_edits_are_explained(pipeline, draw, message):
    with pytest.raises(InputError, match=message):
        draw(pipeline)
