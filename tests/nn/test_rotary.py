import pytest
import torch

from multidiff.nn.attention import SelfAttention
from multidiff.nn.rotary import apply_rotary

SIZES = [torch.Size([12]), torch.Size([3, 4]), torch.Size([2, 3, 2])]


def products(q, k, size):
    """Products of every query with every key, ``(N, N)``; channels are the same at all positions."""
    n = size.numel()
    rows = [vector.expand(1, 1, n, -1) for vector in (q, k)]
    q, k = (apply_rotary(row, size)[0, 0] for row in rows)
    return q @ k.T


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_products_depend_on_relative_positions_alone(size):
    q, k = torch.randn(2, 12, dtype=torch.float64)
    places = torch.cartesian_prod(*map(torch.arange, size)).reshape(-1, len(size))
    found = {}
    for i, row in enumerate(products(q, k, size)):
        for j, product in enumerate(row):
            offset = tuple((places[i] - places[j]).tolist())
            assert product.item() == pytest.approx(found.setdefault(offset, product.item()))
    assert len({round(value, 6) for value in found.values()}) == len(found)  # all offsets differ


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_rotation_keeps_lengths_and_the_first_position(size):
    x = torch.randn(2, 3, size.numel(), 12)
    turned = apply_rotary(x, size)
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(turned[:, :, 0], x[:, :, 0])


def test_distant_positions_are_resolved_in_half_precision():
    """Angles near 1000 have errors of up to 2 in bfloat16 and 2^-15 in single precision, the result one of 2^-8."""
    x = torch.randn(1, 2, 1000, 16, dtype=torch.bfloat16)
    exact = apply_rotary(x.double(), torch.Size([1000]))
    turned = apply_rotary(x, torch.Size([1000]))
    assert turned.dtype == torch.bfloat16
    torch.testing.assert_close(turned.double(), exact, atol=2**-15 * 2**0.5 * x.abs().max().item(), rtol=2**-8)


def test_head_size_must_suit_the_number_of_axes():
    with pytest.raises(ValueError, match="10 channels"):
        apply_rotary(torch.randn(1, 1, 12, 10), torch.Size([3, 4]))


def test_rotary_attention_depends_on_order_and_is_finite_for_large_inputs():
    torch.manual_seed(0)
    block = SelfAttention(8, head_size=8, rotary=True, query_key_norm=True)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x = torch.randn(1, 8, 10)
    assert not torch.allclose(block(x.flip(-1)).flip(-1), block(x), atol=1e-3)
    assert block(1e6 * x).isfinite().all()
