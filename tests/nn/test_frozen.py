"""A frozen module is used, moved and shared, but never trained, saved or copied."""

import copy

import torch
from torch import nn

from multidiff.nn.frozen import Frozen
from multidiff.training.ema import EMA, ConstantDecay


class Owner(nn.Module):
    def __init__(self):
        super().__init__()
        self.own = nn.Linear(3, 2)
        self.frozen = Frozen(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout(0.5)))

    def forward(self, x):
        return self.frozen(self.own(x))


def test_it_is_not_registered_with_its_owner():
    owner = Owner()
    assert set(owner.state_dict()) == {"own.weight", "own.bias"}
    assert len(list(owner.parameters())) == 2
    assert not list(owner.frozen.buffers())
    owner(torch.randn(4, 3)).sum().backward()
    assert all(parameter.grad is not None for parameter in owner.parameters())
    assert all(parameter.grad is None for parameter in owner.frozen.module.parameters())


def test_it_moves_with_its_owner():
    owner = Owner().double()
    assert owner(torch.randn(4, 3).double()).dtype == torch.float64
    assert next(owner.frozen.module.parameters()).dtype == torch.float64


def test_copies_and_averages_share_it():
    owner = Owner()
    assert copy.deepcopy(owner).frozen.module is owner.frozen.module
    average = EMA(owner, ConstantDecay(0.9))
    assert average.model.frozen.module is owner.frozen.module
    assert set(average.state_dict()) == {"updates", "model.own.weight", "model.own.bias"}


def test_it_stays_in_evaluation_mode():
    owner = Owner().train()
    assert owner.own.training
    assert not any(module.training for module in owner.frozen.module.modules())
    x = torch.randn(4, 3)
    assert torch.equal(owner(x), owner(x))
