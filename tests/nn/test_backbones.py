"""What every backbone does with its samples, the time and the conditions (docs/extending.md)."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from modalities.shape.transformer import LatentPointTransformer, PointTransformer
from multidiff.diffusion.conditioning import Conditioning
from multidiff.nn.dit import DiT
from multidiff.nn.unet import UNet

BATCH, CHANNELS, VECTOR, TOKEN = 3, 4, 5, 6

STAGES = {"widths": [8, 16], "blocks": [1, 2], "attention": [False, True], "head_size": 8}
WAVE = {**STAGES, "dims": 1, "strides": [1, 4], "rotary": True, "filtered": True}
BLOCKS = {"patch": 2, "width": 24, "depth": 2, "head_size": 12}
POINTS = {"width": 16, "head_size": 8, "octaves": 2}
LATENT = {"latents": 4, "latent_width": 24, "rounds": 2, "latent_blocks": 1}

BACKBONES: dict[str, tuple[Callable[..., nn.Module], dict[str, Any], tuple[int, ...]]] = {
    "UNet, 2D": (UNet, {**STAGES, "dims": 2}, (8, 8)),
    "UNet, 1D": (UNet, WAVE, (32,)),
    "UNet, 1D, gated": (UNet, {**WAVE, "gated": True}, (32,)),
    "DiT, 1D": (DiT, {**BLOCKS, "dims": 1}, (12,)),
    "DiT, 2D": (DiT, {**BLOCKS, "dims": 2}, (6, 4)),
    "DiT, 3D": (DiT, {**BLOCKS, "dims": 3}, (4, 2, 4)),
    "PointTransformer": (PointTransformer, {**POINTS, "depth": 2}, (20,)),
    "LatentPointTransformer": (LatentPointTransformer, {**POINTS, **LATENT}, (20,)),
}
"""The class, its settings, and the size of its samples."""

OTHER_SIZES = {1: [(1,), (7,), (64,)], 2: [(1, 1), (7, 9), (5, 16)], 3: [(1, 1, 1), (3, 2, 5), (4, 4, 4)]}
"""By the number of dimensions."""


def make_network(name: str, *, vector_dim: int = VECTOR, token_dim: int = TOKEN, randomised: bool = True) -> nn.Module:
    """A small network with random weights in its zero layers too, so that every path affects the output."""
    torch.manual_seed(0)
    kind, settings, _ = BACKBONES[name]
    network = kind(channels=CHANNELS, vector_dim=vector_dim, token_dim=token_dim, **settings)
    if randomised:
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.2)
    return network.eval()


@pytest.fixture(params=BACKBONES)
def name(request) -> str:
    return request.param


@pytest.fixture
def network(name) -> nn.Module:
    return make_network(name)


@pytest.fixture
def x(name) -> Tensor:
    return torch.randn(BATCH, CHANNELS, *BACKBONES[name][-1])


@pytest.fixture
def log_snr() -> Tensor:
    return torch.linspace(-2, 3, BATCH)


@pytest.fixture
def cond() -> Conditioning:
    mask = torch.tensor([[True, True, False], [True, False, False], [True, True, True]])
    return Conditioning(torch.randn(BATCH, VECTOR), torch.randn(BATCH, 3, TOKEN), mask)


def test_the_output_is_zero_at_first(name, x, log_snr, cond):
    assert not make_network(name, randomised=False)(x, log_snr, cond).any()


@pytest.mark.parametrize("number", range(3))
def test_any_size_goes_in_and_comes_out(name, network, log_snr, cond, number):
    size = OTHER_SIZES[len(BACKBONES[name][-1])][number]
    x = torch.randn(BATCH, CHANNELS, *size)
    assert network(x, log_snr, cond).shape == x.shape


def test_every_parameter_has_a_gradient(network, x, log_snr, cond):
    network(x, log_snr, cond).square().sum().backward()
    assert not [name for name, value in network.named_parameters() if value.grad is None or not value.grad.any()]


def test_the_null_condition_equals_no_condition(network, x, log_snr, cond):
    torch.testing.assert_close(network(x, log_snr, cond.null()), network(x, log_snr))


def test_masked_tokens_change_nothing_and_the_order_of_others_neither(network, x, log_snr, cond):
    others = torch.where(cond.mask[..., None], cond.tokens, 100 * torch.randn_like(cond.tokens))
    expected = network(x, log_snr, cond)
    torch.testing.assert_close(network(x, log_snr, Conditioning(cond.vector, others, cond.mask)), expected)
    turned = Conditioning(cond.vector, cond.tokens.flip(1), cond.mask.flip(1))
    torch.testing.assert_close(network(x, log_snr, turned), expected)


@pytest.mark.parametrize("changed", ["vector", "tokens", "mask", "log_snr", "x"])
def test_every_input_changes_the_output(network, x, log_snr, cond, changed):
    inputs = {"vector": cond.vector, "tokens": cond.tokens, "mask": cond.mask, "log_snr": log_snr, "x": x}

    def output(inputs: dict[str, Tensor]) -> Tensor:
        return network(inputs["x"], inputs["log_snr"], Conditioning(inputs["vector"], inputs["tokens"], inputs["mask"]))

    other = ~cond.mask if changed == "mask" else inputs[changed] + 1
    difference = (output(inputs | {changed: other}) - output(inputs)).abs().flatten(1).amax(dim=1)
    assert (difference > 1e-4).all()


def test_the_output_is_finite_at_the_ends_of_time(network, x, cond):
    ends = torch.tensor([float("inf"), float("-inf"), 0.0])
    assert network(x, ends, cond).isfinite().all()


def test_a_sample_does_not_depend_on_its_batch(network, x, log_snr, cond):
    together = network(x, log_snr, cond)
    for i in range(BATCH):
        alone = Conditioning(*(field[i : i + 1] for field in (cond.vector, cond.tokens, cond.mask)))
        torch.testing.assert_close(network(x[i : i + 1], log_snr[i : i + 1], alone), together[i : i + 1])


@pytest.mark.parametrize(("vector_dim", "token_dim"), [(0, 0), (0, TOKEN), (VECTOR, 0)])
def test_a_condition_without_a_width_in_the_network_is_an_error(name, x, log_snr, cond, vector_dim, token_dim):
    network = make_network(name, vector_dim=vector_dim, token_dim=token_dim)
    kinds = [(Conditioning(vector=cond.vector), vector_dim), (Conditioning(None, cond.tokens, cond.mask), token_dim)]
    for kind, dim in kinds:
        if dim:
            network(x, log_snr, kind)
        else:
            with pytest.raises(ValueError, match="_dim=0"):
                network(x, log_snr, kind)
