"""Sets of points. What every backbone does is in tests/nn/test_backbones.py."""

import pytest
import torch

from tests.backbones import BACKBONES, CHANNELS, make_inputs, make_network

NAMES = ["PointTransformer", "LatentPointTransformer"]


@pytest.mark.parametrize("name", NAMES)
def test_permuting_the_points_permutes_the_output(name):
    network, (x, log_snr, cond) = make_network(name), make_inputs(name)
    order = torch.randperm(x.shape[-1])
    torch.testing.assert_close(network(x[..., order], log_snr, cond), network(x, log_snr, cond)[..., order])


@pytest.mark.parametrize("name", NAMES)
def test_doubling_every_point_changes_nothing(name):
    """Attention to a set is a weighted mean: the density of the points does not matter."""
    network, (x, log_snr, cond) = make_network(name), make_inputs(name)
    twice = network(torch.cat([x, x], dim=-1), log_snr, cond)
    torch.testing.assert_close(twice[..., : x.shape[-1]], network(x, log_snr, cond))


@pytest.mark.parametrize("name", NAMES)
def test_heads_divide_the_width(name):
    kind, settings, _ = BACKBONES[name]
    with pytest.raises(ValueError, match=r"heads of 5 channels: .* backbone\.head_size=1"):
        kind(channels=CHANNELS, **{**settings, "head_size": 5})
