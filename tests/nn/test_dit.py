"""The DiT in 1, 2 and 3 dimensions. What every backbone does is in test_backbones.py."""

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


def make_network(dims: int, *, randomised: bool = True) -> DiT:
    """A small network with random weights in its zero layers too, so that every path affects the output."""
    torch.manual_seed(0)
    network = DiT(dims=dims, vector_dim=VECTOR, token_dim=TOKEN, **SMALL)
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


def test_finite_at_the_ends_of_time_and_for_large_inputs(dims, x, cond):
    ends = torch.tensor([float("inf"), float("-inf"), 0.0])
    assert make_network(dims)(1e4 * x, ends, cond).isfinite().all()


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


@pytest.mark.parametrize("settings", [{"patch": 0}, {"head_size": 6}, {"head_size": 16}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValueError, match="head"):
        DiT(dims=2, **{**SMALL, **settings})
