"""Filtered resampling: no aliasing, no spectral images, no shift."""

import pytest
import torch

from multidiff.nn.resample import downsample, downsample_filtered, lowpass, upsample, upsample_filtered

FACTORS = [2, 3, 4]


def tone(cycles, length=720):
    """A cosine of ``cycles`` per position, sampled at the centres of positions, ``(1, 1, length)``."""
    return torch.cos(2 * torch.pi * cycles * (torch.arange(length, dtype=torch.float64) + 0.5))[None, None]


def rms(x):
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
    """The filter along an axis is a matrix, computed here from its taps."""
    taps, count = torch.from_numpy(lowpass(factor)), 6
    coarse_of, fine_of = torch.zeros(2, count * factor, count, dtype=torch.float64)
    for j in range(-2 * factor, (count + 2) * factor):
        near = min(max(j, 0), count * factor - 1)  # replicate padding
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
def test_low_frequencies_pass_without_shift(factor):
    """A low-frequency tone keeps its phase: position i of the lower resolution is the centre of its block."""
    slow = 0.02
    fine, coarse = tone(slow / factor), tone(slow, 720 // factor)
    inside = (..., slice(40, -40))
    torch.testing.assert_close(downsample_filtered(fine, factor)[inside], coarse[inside], atol=0.02, rtol=0)
    torch.testing.assert_close(upsample_filtered(coarse, factor)[inside], fine[inside], atol=0.02, rtol=0)


@pytest.mark.parametrize("factor", FACTORS)
def test_frequencies_above_nyquist_do_not_alias(factor):
    """At 1.6 times the Nyquist frequency of the lower resolution; average pooling passes ten times as much."""
    high = tone(0.8 / factor)
    assert rms(downsample_filtered(high, factor)) < 0.03 * rms(high)
    assert rms(downsample_filtered(high, factor)) < 0.2 * rms(downsample(high, factor))


@pytest.mark.parametrize("factor", FACTORS)
def test_upsampling_has_no_spectral_images(factor):
    """Of a tone of 0.2 cycles per position of the lower resolution; nearest neighbour has much stronger images."""
    coarse, fine = tone(0.2, 240), tone(0.2 / factor, 240 * factor)

    def rest(x):
        gain = (x * fine).sum() / fine.square().sum()
        return rms(x - gain * fine)

    assert rest(upsample_filtered(coarse, factor)) < 0.05
    assert rest(upsample_filtered(coarse, factor)) < 0.25 * rest(upsample(coarse, factor))


@pytest.mark.parametrize("factor", FACTORS)
def test_the_filter_is_symmetric_and_keeps_the_mean(factor):
    taps = torch.from_numpy(lowpass(factor))
    torch.testing.assert_close(taps, taps.flip(0))
    assert taps.sum().item() == pytest.approx(1)
