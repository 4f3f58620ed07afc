"""What every backbone does with its samples, the time and the conditions (docs/extending.md)."""

import pytest
import torch
from torch import Tensor

from multidiff.diffusion.conditioning import Conditioning
from tests.backbones import BACKBONES, BATCH, CHANNELS, TOKEN, VECTOR, make_inputs, make_network

SIZES = {
    1: [(1,), (3,), (4,), (7,), (29,), (64,), (100,)],
    2: [(1, 1), (7, 9), (5, 7), (5, 16)],
    3: [(1, 1, 1), (3, 2, 5), (4, 4, 4)],
}
"""Of samples, by the number of dimensions."""


@pytest.fixture(params=BACKBONES)
def name(request) -> str:
    return request.param


def test_the_output_is_zero_at_first(name, x, log_snr, cond):
    assert not make_network(name, randomised=False)(x, log_snr, cond).any()


@pytest.mark.parametrize(("name", "size"), [(n, size) for n in BACKBONES for size in SIZES[len(BACKBONES[n][-1])]])
def test_any_size_goes_in_and_comes_out(name, size):
    _, log_snr, cond = make_inputs(name)
    x = torch.randn(BATCH, CHANNELS, *size)
    assert make_network(name)(x, log_snr, cond).shape == x.shape


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
    given = {"vector": cond.vector, "tokens": cond.tokens, "mask": cond.mask, "log_snr": log_snr, "x": x}

    def output(given: dict[str, Tensor]) -> Tensor:
        return network(given["x"], given["log_snr"], Conditioning(given["vector"], given["tokens"], given["mask"]))

    other = ~cond.mask if changed == "mask" else given[changed] + 1
    difference = (output(given | {changed: other}) - output(given)).abs().flatten(1).amax(dim=1)
    assert (difference > 1e-3).all()


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
