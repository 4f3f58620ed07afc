"""The DiT in 1, 2 and 3 dimensions, with and without tokens."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from multidiff.diffusion.conditioning import Conditioning
from multidiff.nn.attention import MultiHeadAttention
from multidiff.nn.dit import DiT, DiTBlock, patchify, unpatchify
from multidiff.nn.rotary import apply_rotary

BATCH, CHANNELS, VECTOR, TOKEN = 3, 2, 5, 6
SIZES = {1: (12,), 2: (6, 4), 3: (4, 2, 4)}
SMALL = {"channels": CHANNELS, "patch": 2, "width": 24, "depth": 2, "head_size": 12}


def make_network(dims: int = 2, vector_dim: int = VECTOR, token_dim: int = TOKEN, randomised: bool = True) -> DiT:
    """A small network with random weights in its zero layers too, so that every path affects the output."""
    torch.manual_seed(0)
    network = DiT(dims=dims, vector_dim=vector_dim, token_dim=token_dim, **SMALL)
    if randomised:
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.3)
    return network.eval()


@pytest.fixture(params=SIZES)
def dims(request) -> int:
    return request.param


@pytest.fixture
def x(dims) -> Tensor:
    return torch.randn(BATCH, CHANNELS, *SIZES[dims])


@pytest.fixture
def log_snr() -> Tensor:
    return torch.linspace(-2, 3, BATCH)


@pytest.fixture
def cond() -> Conditioning:
    mask = torch.tensor([[True, True, False], [True, False, False], [True, True, True]])
    return Conditioning(torch.randn(BATCH, VECTOR), torch.randn(BATCH, 3, TOKEN), mask)


def test_patches_hold_every_value_once_and_can_be_put_together(dims, x):
    patches = patchify(x, 2)
    assert patches.shape == (BATCH, x[0, 0].numel() // 2**dims, CHANNELS * 2**dims)
    assert torch.equal(unpatchify(patches, 2, torch.Size(side // 2 for side in SIZES[dims])), x)
    corner = x[(slice(None), slice(None), *[slice(0, 2)] * dims)]
    assert torch.equal(patches[:, 0], corner.flatten(1))


def test_the_output_is_zero_and_blocks_are_the_identity_at_first(dims, x, log_snr, cond):
    network = make_network(dims, randomised=False)
    assert not network(x, log_snr, cond).any()
    block = DiTBlock(24, head_size=12, cross=True, expansion=4, dropout=0.0)
    h, context = torch.randn(BATCH, 6, 24), torch.randn(BATCH, 3, 24)
    assert torch.equal(block(h, torch.Size([3, 2]), torch.randn(BATCH, 24), context, cond.mask), h)


def test_the_first_step_trains_the_gates_and_the_second_everything(x, dims, log_snr, cond):
    network = make_network(dims, randomised=False).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(4):
        optimizer.zero_grad()
        (network(x, log_snr, cond) - 1 - x.roll(1, -1)).square().mean().backward()
        optimizer.step()
    assert not [name for name, value in network.named_parameters() if value.grad is None or not value.grad.any()]


@pytest.mark.parametrize("size", [(6, 4), (5, 7), (1, 1)])
def test_any_size_goes_in_and_comes_out(log_snr, cond, size):
    x = torch.randn(BATCH, CHANNELS, *size)
    assert make_network()(x, log_snr, cond).shape == x.shape


def test_null_condition_equals_no_condition(dims, x, log_snr, cond):
    network = make_network(dims)
    torch.testing.assert_close(network(x, log_snr, cond.null()), network(x, log_snr))


def test_masked_tokens_change_nothing_and_the_order_of_others_neither(dims, x, log_snr, cond):
    network = make_network(dims)
    others = torch.where(cond.mask[..., None], cond.tokens, 100 * torch.randn_like(cond.tokens))
    expected = network(x, log_snr, cond)
    torch.testing.assert_close(network(x, log_snr, Conditioning(cond.vector, others, cond.mask)), expected)
    turned = Conditioning(cond.vector, cond.tokens.flip(1), cond.mask.flip(1))
    torch.testing.assert_close(network(x, log_snr, turned), expected)


@pytest.mark.parametrize("changed", ["vector", "tokens", "mask", "log_snr", "x"])
def test_output_depends_on_every_input(dims, x, log_snr, cond, changed):
    network = make_network(dims)
    inputs = {"vector": cond.vector, "tokens": cond.tokens, "mask": cond.mask, "log_snr": log_snr, "x": x}

    def output(inputs: dict[str, Tensor]) -> Tensor:
        return network(inputs["x"], inputs["log_snr"], Conditioning(inputs["vector"], inputs["tokens"], inputs["mask"]))

    other = ~cond.mask if changed == "mask" else inputs[changed] + 1
    difference = (output(inputs | {changed: other}) - output(inputs)).abs().flatten(1).amax(dim=1)
    assert (difference > 1e-4).all()


def test_finite_at_the_ends_of_time_and_for_large_inputs(dims, x, cond):
    ends = torch.tensor([float("inf"), float("-inf"), 0.0])
    assert make_network(dims)(1e4 * x, ends, cond).isfinite().all()


def test_a_sample_does_not_depend_on_its_batch(dims, x, log_snr, cond):
    network = make_network(dims)
    together = network(x, log_snr, cond)
    for i in range(BATCH):
        alone = Conditioning(*(field[i : i + 1] for field in (cond.vector, cond.tokens, cond.mask)))
        torch.testing.assert_close(network(x[i : i + 1], log_snr[i : i + 1], alone), together[i : i + 1])


def test_attention_depends_on_relative_positions_alone():
    """A 2 by 2 block of content gives the same wherever it lies in a grid, while the rest is masked."""
    torch.manual_seed(0)
    attention = MultiHeadAttention(24, head_size=12)
    content, grid = torch.randn(2, 2, 24), torch.Size([4, 5])

    def at(row, column):
        field, mask = torch.randn(4, 5, 24), torch.zeros(4, 5, dtype=torch.bool)
        inside = slice(row, row + 2), slice(column, column + 2)
        field[inside], mask[inside] = content, True
        rotate = partial(apply_rotary, size=grid)
        found = attention(field.reshape(1, 20, 24), mask=mask.reshape(1, 20), rotate=rotate)
        return found.reshape(4, 5, 24)[inside]

    torch.testing.assert_close(at(0, 0), at(2, 3))
    torch.testing.assert_close(at(0, 0), at(1, 2))
    assert (at(0, 0) - attention(content.reshape(1, 4, 24)).reshape(2, 2, 24)).abs().max() > 1e-3


@pytest.mark.parametrize(("vector_dim", "token_dim"), [(0, 0), (0, TOKEN), (VECTOR, 0)])
def test_a_condition_without_a_width_in_the_network_is_an_error(log_snr, cond, vector_dim, token_dim):
    network, x = make_network(2, vector_dim, token_dim), torch.randn(BATCH, CHANNELS, 4, 4)
    kinds = [(Conditioning(vector=cond.vector), vector_dim), (Conditioning(None, cond.tokens, cond.mask), token_dim)]
    for kind, dim in kinds:
        if dim:
            network(x, log_snr, kind)
        else:
            with pytest.raises(ValueError, match="_dim=0"):
                network(x, log_snr, kind)


@pytest.mark.parametrize("settings", [{"patch": 0}, {"head_size": 6}, {"head_size": 16}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValueError, match="head"):
        DiT(dims=2, **{**SMALL, **settings})
