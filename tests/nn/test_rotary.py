import pytest
import torch

from multidiff.nn.attention import SelfAttention
from multidiff.nn.rotary import rotated

SIZES = [torch.Size([12]), torch.Size([3, 4]), torch.Size([2, 3, 2])]


def products(q, k, size):
    """Of every query with every key, ``(N, N)``, each having the same channels at all positions."""
    n = size.numel()
    rows = [vector.expand(1, 1, n, -1) for vector in (q, k)]
    q, k = (rotated(row, size)[0, 0] for row in rows)
    return q @ k.T


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_products_depend_on_relative_positions_alone(size):
    q, k = torch.randn(2, 12, dtype=torch.float64)
    places = torch.cartesian_prod(*map(torch.arange, size)).reshape(-1, len(size))
    seen = {}
    for i, row in enumerate(products(q, k, size)):
        for j, product in enumerate(row):
            offset = tuple((places[i] - places[j]).tolist())
            assert product.item() == pytest.approx(seen.setdefault(offset, product.item()))
    assert len({round(value, 6) for value in seen.values()}) == len(seen)  # and tell every offset from the others


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_rotation_keeps_lengths_and_the_first_position(size):
    x = torch.randn(2, 3, size.numel(), 12)
    turned = rotated(x, size)
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(turned[:, :, 0], x[:, :, 0])


def test_half_precision_tells_far_positions_apart():
    """An angle of a thousand is off by up to two in bfloat16 and by 2^-15 in single precision; the result by 2^-8."""
    x = torch.randn(1, 2, 1000, 16, dtype=torch.bfloat16)
    exact = rotated(x.double(), torch.Size([1000]))
    turned = rotated(x, torch.Size([1000]))
    assert turned.dtype == torch.bfloat16
    torch.testing.assert_close(turned.double(), exact, atol=2**-15 * 2**0.5 * x.abs().max().item(), rtol=2**-8)


def test_heads_must_hold_pairs_for_every_axis():
    with pytest.raises(ValueError, match="10 channels"):
        rotated(torch.randn(1, 1, 12, 10), torch.Size([3, 4]))


def test_rotary_attention_tells_orders_apart_and_stays_finite_for_large_inputs():
    torch.manual_seed(0)
    block = SelfAttention(8, head_size=8, rotary=True, query_key_norm=True)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x = torch.randn(1, 8, 10)
    assert not torch.allclose(block(x.flip(-1)).flip(-1), block(x), atol=1e-3)
    assert block(1e6 * x).isfinite().all()
