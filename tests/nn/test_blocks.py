from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multidiff.nn import attention
from multidiff.nn.attention import CrossAttention, SelfAttention, dot_product_attention
from multidiff.nn.embeddings import LOG_SNR_LIMIT, Embedding
from multidiff.nn.norm import AdaptiveGroupNorm, RootMeanSquareNorm, group_norm
from multidiff.nn.resample import crop, downsample, pad_to_multiple, upsample
from multidiff.nn.residual import ResidualBlock

DIMENSIONS = [1, 2, 3]


def field(dims: int, side: int = 4, channels: int = 8) -> Tensor:
    return torch.randn(2, channels, *[side] * dims)


def disturb(block: nn.Module) -> nn.Module:
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.3)
    return block


@pytest.mark.parametrize("dims", DIMENSIONS)
def test_blocks_start_as_the_identity(dims):
    x = field(dims)
    torch.testing.assert_close(ResidualBlock(8, 8, 5, dims=dims)(x, torch.randn(2, 5)), x)
    torch.testing.assert_close(SelfAttention(8, head_size=4)(x), x)
    torch.testing.assert_close(CrossAttention(8, 6, head_size=4)(x, None, None), x)


@pytest.mark.parametrize("dims", DIMENSIONS)
def test_residual_block_changes_width_and_depends_on_the_embedding(dims):
    x, block = field(dims), disturb(ResidualBlock(8, 12, 5, dims=dims))
    one, other = block(x, torch.zeros(2, 5)), block(x, torch.ones(2, 5))
    assert one.shape == (2, 12, *x.shape[2:])
    assert not torch.allclose(one, other)


@pytest.mark.parametrize("dims", DIMENSIONS)
def test_self_attention_commutes_with_permutation_of_positions(dims):
    x, block = field(dims), disturb(SelfAttention(8, head_size=4))
    order = torch.randperm(4**dims)

    def permute(x: Tensor) -> Tensor:
        return x.flatten(2)[..., order].reshape(x.shape)

    torch.testing.assert_close(block(permute(x)), permute(block(x)))


@pytest.mark.parametrize("dims", DIMENSIONS)
def test_cross_attention_without_a_visible_token_is_the_null_condition(dims):
    x, block = field(dims), disturb(CrossAttention(8, 6, head_size=4))
    tokens, nothing = torch.randn(2, 3, 6), torch.zeros(2, 3, dtype=torch.bool)
    torch.testing.assert_close(block(x, tokens, nothing), block(x, None, None))
    assert not torch.allclose(block(x, tokens, ~nothing), block(x, None, None))


def test_cross_attention_ignores_the_order_of_tokens():
    x, block = field(2), disturb(CrossAttention(8, 6, head_size=4))
    tokens, mask = torch.randn(2, 3, 6), torch.tensor([[True, True, False], [True, False, True]])
    torch.testing.assert_close(block(x, tokens.flip(1), mask.flip(1)), block(x, tokens, mask))


@pytest.mark.parametrize("masked", [False, True])
def test_attention_in_bfloat16_is_that_of_double_precision_rounded(masked):
    """Bound on the rounding error: queries, scores, weights and results are each rounded to a relative 2^-8."""
    q, k, v = torch.randn(3, 2, 3, 40, 8, dtype=torch.bfloat16)
    visible = torch.rand(2, 1, 1, 40) < 0.5 if masked else None
    exact = F.scaled_dot_product_attention(q.double(), k.double(), v.double(), attn_mask=visible)
    terms = (q.double().abs() @ k.double().abs().mT / 8**0.5).amax(dim=-1, keepdim=True)
    sizes = F.scaled_dot_product_attention(q.double(), k.double(), v.double().abs(), attn_mask=visible)
    assert ((dot_product_attention(q, k, v, visible).double() - exact).abs() <= 2**-8 * (4 * terms + 3) * sizes).all()


def test_long_attention_in_bfloat16_uses_the_fused_kernel(monkeypatch):
    monkeypatch.setattr(attention, "EXPLICIT_LIMIT", 1600)
    fused = mock.Mock(wraps=F.scaled_dot_product_attention)
    monkeypatch.setattr(F, "scaled_dot_product_attention", fused)
    for count, calls in ((40, 0), (41, 1)):
        q, k, v = torch.randn(3, 1, 2, count, 8, dtype=torch.bfloat16)
        dot_product_attention(q, k, v)
        assert fused.call_count == calls


def test_adaptive_norm_scales_and_shifts_a_normalised_input():
    norm, x = AdaptiveGroupNorm(8, 5), 3 + 2 * field(2, side=16)
    nn.init.zeros_(norm.modulation.weight)
    norm.modulation.bias.data = torch.cat([torch.full((8,), 0.5), torch.full((8,), 2.0)])
    groups = norm(x, torch.randn(2, 5)).reshape(2, 2, -1)
    torch.testing.assert_close(groups.mean(-1), torch.full((2, 2), 2.0))
    torch.testing.assert_close(groups.std(-1, correction=0), torch.full((2, 2), 1.5))


@pytest.mark.parametrize("autocast", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_adaptive_norm_is_its_formula_in_any_layout_and_precision(dtype, autocast):
    """Channels-last is preserved. In bfloat16 there are four roundings, each by 2^-8 of the largest value."""
    norm, x, embedding = AdaptiveGroupNorm(16, 5), torch.randn(3, 16, 6, 6, dtype=dtype), torch.randn(3, 5)
    scale, shift = norm.modulation(embedding)[:, :, None, None].double().chunk(2, dim=1)
    exact = (1 + scale) * F.group_norm(x.double(), norm.groups) + shift
    atol = 4 * 2**-8 * exact.abs().max().item() if torch.bfloat16 in (dtype, autocast) else 1e-5
    for layout in (torch.contiguous_format, torch.channels_last):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast == torch.bfloat16):
            found = norm(x.to(memory_format=layout), embedding)
        assert found.dtype == dtype
        assert found.is_contiguous(memory_format=layout)
        torch.testing.assert_close(found.double(), exact, atol=atol, rtol=0)


def test_adaptive_norm_is_compiled_once_for_all_batch_sizes():
    made = []

    def count(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        made.append(graph)
        return graph.forward

    compiled = torch.compile(AdaptiveGroupNorm(8, 5), backend=count)
    for batch in (2, 3, 4, 5):
        compiled(torch.randn(batch, 8, 4), torch.randn(batch, 5))
    assert len(made) == 2  # for the first batch size, and for dynamic ones


@pytest.mark.filterwarnings("error")  # torch warns if it falls back to an unfused norm
def test_root_mean_square_norm_computes_in_the_precision_of_its_weights():
    norm, x = RootMeanSquareNorm(16), torch.randn(5, 16, dtype=torch.bfloat16)
    exact = x.double() / x.double().square().mean(-1, keepdim=True).sqrt()
    assert norm(x).dtype == torch.bfloat16
    torch.testing.assert_close(norm(x).double(), exact, atol=1e-5, rtol=2**-8)


@pytest.mark.parametrize("channels", [4, 8, 48, 100, 128, 192])
def test_there_are_at_most_32_groups_of_at_least_4_channels(channels):
    groups = group_norm(channels).num_groups
    assert groups <= 32
    assert channels % groups == 0
    assert channels // groups >= 4


def test_widths_that_do_not_divide_are_errors():
    with pytest.raises(ValueError, match="got 6"):
        group_norm(6)
    with pytest.raises(ValueError, match="3 channels"):
        SelfAttention(8, head_size=3)


def test_embedding_is_finite_at_the_ends_and_constant_beyond_its_limit():
    embedding = Embedding(16)
    ends = torch.tensor([float("inf"), LOG_SNR_LIMIT, float("-inf"), -LOG_SNR_LIMIT])
    high, high_limit, low, low_limit = embedding(ends)
    assert torch.equal(high, high_limit)
    assert torch.equal(low, low_limit)
    assert high.isfinite().all()
    assert not torch.allclose(high, low)


def test_null_vector_adds_nothing_to_the_embedding():
    embedding, log_snr = Embedding(16, vector_dim=3), torch.randn(2)
    assert torch.equal(embedding(log_snr, torch.zeros(2, 3)), embedding(log_snr))
    assert not torch.allclose(embedding(log_snr, torch.ones(2, 3)), embedding(log_snr))


@pytest.mark.parametrize("dims", DIMENSIONS)
@pytest.mark.parametrize("factor", [2, 4])
def test_downsampling_undoes_upsampling_and_keeps_the_mean(dims, factor):
    x = field(dims)
    torch.testing.assert_close(downsample(upsample(x, factor), factor), x)
    torch.testing.assert_close(downsample(x, factor).flatten(2).mean(-1), x.flatten(2).mean(-1))


@pytest.mark.parametrize("dims", DIMENSIONS)
@pytest.mark.parametrize("side", [3, 4, 5])
def test_cropping_undoes_padding(dims, side):
    x = field(dims, side)
    padded = pad_to_multiple(x, 4)
    assert all(length % 4 == 0 and length - side < 4 for length in padded.shape[2:])
    assert torch.equal(crop(padded, x), x)
    assert padded.sum() == pytest.approx(x.sum().item(), abs=1e-4)
