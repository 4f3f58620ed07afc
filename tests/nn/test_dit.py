"""The DiT in 1, 2 and 3 dimensions. What every backbone does is in test_backbones.py."""

from functools import partial

import pytest
import torch

from multidiff.nn.attention import MultiHeadAttention
from multidiff.nn.dit import DiT, DiTBlock, patchify, unpatchify
from multidiff.nn.rotary import apply_rotary
from tests.backbones import BATCH, BLOCKS, CHANNELS, make_network


@pytest.fixture(params=["DiT, 1D", "DiT, 2D", "DiT, 3D"])
def name(request) -> str:
    return request.param


def test_patches_hold_every_value_once_and_can_be_put_together(x):
    patches, sides = patchify(x, 2), x.shape[2:]
    dims = len(sides)
    assert patches.shape == (BATCH, x[0, 0].numel() // 2**dims, CHANNELS * 2**dims)
    assert torch.equal(unpatchify(patches, 2, torch.Size(side // 2 for side in sides)), x)
    corner = x[(slice(None), slice(None), *[slice(0, 2)] * dims)]
    assert torch.equal(patches[:, 0], corner.flatten(1))


def test_the_output_is_zero_and_blocks_are_the_identity_at_first(name, x, log_snr, cond):
    network = make_network(name, randomised=False)
    assert not network(x, log_snr, cond).any()
    block = DiTBlock(24, head_size=12, cross=True, expansion=4, dropout=0.0)
    h, context = torch.randn(BATCH, 6, 24), torch.randn(BATCH, 3, 24)
    assert torch.equal(block(h, torch.Size([3, 2]), torch.randn(BATCH, 24), context, cond.mask), h)


def test_the_first_step_trains_the_gates_and_the_second_everything(name, x, log_snr, cond):
    network = make_network(name, randomised=False).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(4):
        optimizer.zero_grad()
        (network(x, log_snr, cond) - 1 - x.roll(1, -1)).square().mean().backward()
        optimizer.step()
    assert not [name for name, value in network.named_parameters() if value.grad is None or not value.grad.any()]


def test_finite_at_the_ends_of_time_and_for_large_inputs(network, x, cond):
    ends = torch.tensor([float("inf"), float("-inf"), 0.0])
    assert network(1e4 * x, ends, cond).isfinite().all()


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
        DiT(channels=2, dims=2, **{**BLOCKS, **settings})
