"""Filtered resampling: no aliases, no images, nothing moved."""

import pytest
import torch

from multidiff.nn.resample import downsample, downsample_filtered, lowpass, upsample, upsample_filtered

FACTORS = [2, 3, 4]


def tone(cycles, length=720):
    """A cosine of ``cycles`` a position at the middles of positions, ``(1, 1, length)``."""
    return torch.cos(2 * torch.pi * cycles * (torch.arange(length, dtype=torch.float64) + 0.5))[None, None]


def level(x):
    return x[..., 40:-40].square().mean().sqrt()


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_constants_and_sizes(factor, dims):
    x = torch.ones(2, 3, *[4] * dims)
    torch.testing.assert_close(upsample_filtered(x, factor), upsample(x, factor))
    torch.testing.assert_close(downsample_filtered(upsample(x, factor), factor), x)


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_each_axis_is_filtered_by_the_taps_alone(factor, dims):
    """Filters are matrices along an axis, made here from what they do to each position of it."""
    taps, count = lowpass(factor), 6
    coarse_of, fine_of = torch.zeros(2, count * factor, count, dtype=torch.float64)
    for j in range(-2 * factor, (count + 2) * factor):
        near = min(max(j, 0), count * factor - 1)  # ends are repeated
        for i in range(count):
            place = j - i * factor + 2 * factor
            coarse_of[near, i] += taps[place] if 0 <= place < len(taps) else 0
    for j in range(-2, count + 2):
        near = min(max(j, 0), count - 1)
        for i in range(count * factor):
            place = i - j * factor + 2 * factor
            fine_of[i, near] += factor * taps[place] if 0 <= place < len(taps) else 0
    fine = torch.randn(2, 3, *[count * factor] * dims, dtype=torch.float64)
    coarse = torch.randn(2, 3, *[count] * dims, dtype=torch.float64)
    expected_down, expected_up = fine, coarse
    for axis in range(2, dims + 2):
        expected_down = (expected_down.movedim(axis, -1) @ coarse_of).movedim(-1, axis)
        expected_up = (expected_up.movedim(axis, -1) @ fine_of.mT).movedim(-1, axis)
    torch.testing.assert_close(downsample_filtered(fine, factor), expected_down)
    torch.testing.assert_close(upsample_filtered(coarse, factor), expected_up)


@pytest.mark.parametrize("factor", FACTORS)
def test_slow_changes_pass_in_place(factor):
    """A tone of few cycles keeps its phase: position i of the coarse one is the middle of its block."""
    slow = 0.02
    fine, coarse = tone(slow / factor), tone(slow, 720 // factor)
    inside = (..., slice(40, -40))
    torch.testing.assert_close(downsample_filtered(fine, factor)[inside], coarse[inside], atol=0.02, rtol=0)
    torch.testing.assert_close(upsample_filtered(coarse, factor)[inside], fine[inside], atol=0.02, rtol=0)


@pytest.mark.parametrize("factor", FACTORS)
def test_what_the_coarse_cannot_hold_does_not_alias(factor):
    """At 1.6 times the coarse Nyquist frequency, a mean lets tenfold more through."""
    high = tone(0.8 / factor)
    assert level(downsample_filtered(high, factor)) < 0.03 * level(high)
    assert level(downsample_filtered(high, factor)) < 0.2 * level(downsample(high, factor))


@pytest.mark.parametrize("factor", FACTORS)
def test_upsampling_makes_no_images(factor):
    """What is not the tone itself, 0.2 cycles a coarse position, is little; copies make much more."""
    coarse, fine = tone(0.2, 240), tone(0.2 / factor, 240 * factor)

    def rest(x):
        gain = (x * fine).sum() / fine.square().sum()
        return level(x - gain * fine)

    assert rest(upsample_filtered(coarse, factor)) < 0.05
    assert rest(upsample_filtered(coarse, factor)) < 0.25 * rest(upsample(coarse, factor))


@pytest.mark.parametrize("factor", FACTORS)
def test_the_filter_is_symmetric_and_keeps_the_mean(factor):
    taps = lowpass(factor)
    torch.testing.assert_close(taps, taps.flip(0))
    assert taps.sum().item() == pytest.approx(1)
