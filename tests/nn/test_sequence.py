import pytest
import torch
from torch import nn

from multidiff.nn.attention import MultiHeadAttention
from multidiff.nn.sequence import SequenceEncoder

DIM = 16


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    encoder = SequenceEncoder(DIM, 2, head_size=8)
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.3)
    return encoder


def test_blocks_are_the_identity_at_first():
    x = torch.randn(2, 5, DIM)
    encoder = SequenceEncoder(DIM, 2, head_size=8)
    torch.testing.assert_close(encoder(x, torch.ones(2, 5, dtype=torch.bool)), encoder.norm(x))


def test_padding_has_no_effect_and_is_zero(encoder):
    x = torch.randn(2, 4, DIM)
    mask = torch.tensor([[True, True, True, True], [True, True, False, False]])
    other = torch.where(mask[..., None], x, 100 * torch.randn_like(x))
    torch.testing.assert_close(encoder(other, mask), encoder(x, mask))
    torch.testing.assert_close(encoder(x[1:, :2], mask[1:, :2]), encoder(x, mask)[1:, :2])
    assert not encoder(x, mask)[~mask].any()


def test_an_empty_sequence_is_finite(encoder):
    x = torch.randn(1, 3, DIM, requires_grad=True)
    encoder(x, torch.zeros(1, 3, dtype=torch.bool)).sum().backward()
    assert x.grad.isfinite().all()


def test_the_order_matters(encoder):
    x, mask = torch.randn(1, 4, DIM), torch.ones(1, 4, dtype=torch.bool)
    assert (encoder(x.flip(1), mask).flip(1) - encoder(x, mask)).abs().max() > 1e-3


def test_attention_to_a_context_does_not_depend_on_its_order():
    torch.manual_seed(0)
    attention = MultiHeadAttention(DIM, 6, head_size=8)
    for parameter in attention.parameters():
        nn.init.normal_(parameter, std=0.3)
    x, context, mask = torch.randn(2, 3, DIM), torch.randn(2, 4, 6), torch.tensor([[1, 1, 0, 1], [1, 0, 0, 0]]).bool()
    torch.testing.assert_close(attention(x, context, mask), attention(x, context.flip(1), mask.flip(1)))
    assert attention(1e6 * x, context, mask).isfinite().all()
