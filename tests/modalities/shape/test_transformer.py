"""Sets of points. What every backbone does is in tests/nn/test_backbones.py."""

import pytest
import torch
from torch import Tensor, nn

from modalities.shape.transformer import LatentPointTransformer, PointTransformer
from multidiff.diffusion.conditioning import Conditioning

BATCH, CHANNELS, POINTS, VECTOR, TOKEN = 3, 6, 20, 5, 7
SMALL = {"width": 16, "head_size": 8, "octaves": 2}
KINDS = {
    "latent": (LatentPointTransformer, {"latents": 4, "latent_width": 24, "rounds": 2, "latent_blocks": 1}),
    "plain": (PointTransformer, {"depth": 2}),
}


def make_network(kind: str) -> nn.Module:
    """A small network with random weights in its zero layers too, so that every path affects the output."""
    torch.manual_seed(0)
    network_class, settings = KINDS[kind]
    network = network_class(channels=CHANNELS, vector_dim=VECTOR, token_dim=TOKEN, **SMALL, **settings)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    return network.eval()


@pytest.fixture(params=KINDS)
def network(request) -> nn.Module:
    return make_network(request.param)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(BATCH, CHANNELS, POINTS)


@pytest.fixture
def log_snr() -> Tensor:
    return torch.linspace(-2, 3, BATCH)


@pytest.fixture
def cond() -> Conditioning:
    mask = torch.tensor([[True, True, False], [True, False, False], [True, True, True]])
    return Conditioning(torch.randn(BATCH, VECTOR), torch.randn(BATCH, 3, TOKEN), mask)


def test_permuting_the_points_permutes_the_output(network, x, log_snr, cond):
    order = torch.randperm(POINTS)
    torch.testing.assert_close(network(x[..., order], log_snr, cond), network(x, log_snr, cond)[..., order])


def test_doubling_every_point_changes_nothing(network, x, log_snr, cond):
    """Attention to a set is a weighted mean: the density of the points does not matter."""
    twice = torch.cat([x, x], dim=-1)
    torch.testing.assert_close(network(twice, log_snr, cond)[..., :POINTS], network(x, log_snr, cond))


@pytest.mark.parametrize("kind", KINDS)
def test_heads_divide_the_width(kind):
    network_class, settings = KINDS[kind]
    with pytest.raises(ValueError, match="cannot be divided into heads"):
        network_class(channels=CHANNELS, **{**SMALL, "head_size": 5}, **settings)
