"""Training warns, with the figure, of codecs that a diffusion model would learn badly from."""

import logging

import pytest
import torch

from multidiff.training.codec_checks import blocks, linear_error, warnings, whole_blocks
from tests.tiny_codec import train_codec

GOOD = {
    "channels": 4.0,
    "collapsed_channels": 0.0,
    "smallest_deviation": 0.8,
    "largest_deviation": 1.2,
    "squared_error": 0.01,
    "linear_squared_error": 0.02,
}


def test_a_good_codec_is_not_warned_about():
    assert not list(warnings(GOOD))


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"collapsed_channels": 3.0}, "collapse", "3 of 4 channels of the latents carry less than 0.05 nats"),
        ({"largest_deviation": 31.0}, "scale", "0.8 to 31, far from 1"),
        ({"smallest_deviation": 0.01}, "scale", "0.01 to 1.2, far from 1"),
        ({"squared_error": 0.03}, "linear", "is 0.03, above the 0.02 of a linear projection"),
    ],
)
def test_a_warning_has_its_figure(change, kind, message):
    ((found, warning),) = warnings({**GOOD, **change})
    assert found == kind
    assert message in warning


@pytest.mark.parametrize("size", [(24,), (8, 12), (4, 4, 8)])
def test_blocks_hold_every_value_once(size):
    x = torch.arange(2 * 3 * torch.Size(size).numel()).reshape(2, 3, *size).double()
    rows = blocks(x, 4)
    assert rows.shape[1] == 3 * 4 ** len(size)
    assert rows.flatten().sort().values.equal(x.flatten())
    inner = x[(0, slice(None), *[slice(4)] * len(size))]
    assert rows[0].equal(inner.flatten())
    assert whole_blocks(x[..., :-1], 4).shape[-1] == size[-1] - 4


def test_the_linear_error_is_that_of_the_components_that_are_left_out():
    deviations = torch.arange(16.0).double()
    x = (torch.randn(200, 16, generator=torch.Generator().manual_seed(0)).double() * deviations)[:, None]
    (kept,) = (torch.linalg.eigvalsh(torch.cov(x[:, 0].T, correction=0))[:-3],)
    assert linear_error(x, x, 16, 3) == pytest.approx(float(kept.sum() / 16))


def test_training_warns_at_its_end(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        train_codec(tmp_path / "run", "trainer.max_steps=1", "autoencoder.bottleneck.weight=0")
    assert "above the" in caplog.text
    assert "of a linear projection" in caplog.text
