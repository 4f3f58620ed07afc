"""Conditions, the null condition, and classifier-free guidance."""

import pytest
import torch

from multidiff.diffusion.conditioning import Conditioning, concatenate
from multidiff.diffusion.denoiser import Denoiser
from multidiff.diffusion.guidance import ClassifierFreeGuidance
from multidiff.diffusion.schedules import Cosine

COND = Conditioning(torch.tensor([[1.0], [3.0]]), torch.ones(2, 3, 4), torch.ones(2, 3, dtype=torch.bool))
X = torch.zeros(2, 1, 5)


class Echo(Denoiser):
    """Returns its condition's vector, and counts its calls and rows."""

    def __init__(self):
        super().__init__()
        self.schedule = Cosine()
        self.rows = []

    def forward(self, x_t, t, cond=None):
        self.rows.append(len(x_t))
        return x_t + t.reshape(-1, 1, 1) * 0 + (0 if cond is None else cond.vector[:, :, None])


@pytest.mark.parametrize("t", [torch.tensor(0.5), torch.tensor([0.5, 0.6])])
def test_extrapolates_from_the_null_condition_in_one_batch(t):
    echo = Echo()
    guided = ClassifierFreeGuidance(echo, scale=2.5)(X, t, COND)
    torch.testing.assert_close(guided[:, 0, 0], torch.tensor([2.5, 7.5]))
    assert echo.rows == [4]


@pytest.mark.parametrize(("scale", "cond"), [(1.0, COND), (3.0, None)])
def test_scale_one_costs_no_extra_evaluations(scale, cond):
    echo = Echo()
    guided = ClassifierFreeGuidance(echo, scale)(X, torch.tensor(0.5), cond)
    assert torch.equal(guided, Echo()(X, torch.tensor(0.5), cond))
    assert echo.rows == [2]


def test_scale_zero_ignores_the_condition():
    guided = ClassifierFreeGuidance(Echo(), 0.0)(X, torch.tensor(0.5), COND)
    assert torch.equal(guided, X)


@pytest.mark.parametrize("scale", [-1.0, float("nan"), float("inf")])
def test_an_impossible_scale_is_refused(scale):
    with pytest.raises(ValueError, match="guidance scale must be"):
        ClassifierFreeGuidance(Echo(), scale)


def test_where_replaces_dropped_conditions_by_the_null_condition():
    kept = COND.where(torch.tensor([True, False]))
    assert kept.vector.flatten().tolist() == [1, 0]
    assert kept.mask.sum(1).tolist() == [3, 0]
    assert torch.equal(kept.null().vector, COND.null().vector)


def test_repeat_and_concatenate_follow_the_batch():
    torch.testing.assert_close(COND.repeat(2).vector, concatenate(COND, COND).vector)
    assert concatenate(COND, COND.null()).mask.sum(1).tolist() == [3, 3, 0, 0]
    assert concatenate(Conditioning(vector=torch.ones(1, 1))).tokens is None


def test_tokens_need_a_mask():
    with pytest.raises(ValueError, match="given together"):
        Conditioning(tokens=torch.ones(1, 2, 3))
