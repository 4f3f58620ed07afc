"""Moving averages have the profile that they promise, and never touch what they follow."""

import copy

import pytest
import torch
from torch import nn

from multidiff.training.ema import EMA, ConstantDecay, PowerDecay


def follow(decay, values):
    """The average of a model with one weight that takes ``values`` in turn."""
    model = nn.Linear(1, 1, bias=False).double()
    ema = EMA(model, decay)
    for value in values:
        nn.init.constant_(model.weight, value)
        ema.update(model)
    return ema.model.weight.item()


@pytest.mark.parametrize("std", [0.05, 0.1, 0.2])
def test_power_profile_has_the_stated_relative_width(std):
    """The average of t and of t^2 are the first two moments of the profile; steps of 1 / 5000 bound the error."""
    count = 5000
    times = [(i + 1) / count for i in range(count)]
    mean, square = follow(PowerDecay(std), times), follow(PowerDecay(std), [t**2 for t in times])
    assert (square - mean**2) ** 0.5 == pytest.approx(std, rel=2e-3)


def test_constant_decay_keeps_its_fraction_after_the_warmup():
    decay = ConstantDecay(decay=0.9, warmup=10)
    assert decay(1) == 0
    assert decay(11) == 0.5
    assert decay(10_000) == 0.9


def test_the_first_update_copies():
    assert follow(PowerDecay(), [3.0]) == 3
    assert follow(ConstantDecay(), [3.0]) == 3


def test_buffers_and_frozen_weights_are_copied_whatever_their_type():
    model = nn.BatchNorm1d(2)
    model.weight.requires_grad_(False)
    ema = EMA(model, ConstantDecay())
    ema.update(model)
    model.train()(torch.randn(8, 2, generator=torch.Generator().manual_seed(0)))
    nn.init.constant_(model.weight, 5.0)
    ema.update(model)
    assert ema.model.num_batches_tracked == 1
    assert torch.equal(ema.model.running_mean, model.running_mean)
    assert torch.equal(ema.model.weight, model.weight)


def test_the_average_is_never_trained():
    ema = EMA(nn.Linear(2, 2), ConstantDecay())
    assert not any(parameter.requires_grad for parameter in ema.model.parameters())


@pytest.mark.parametrize("std", [0.0, 0.3])
def test_an_impossible_width_is_refused(std):
    with pytest.raises(ValueError, match=r"between 0 and 0\.288"):
        PowerDecay(std)


def test_weights_that_the_average_shares_stay_and_another_model_is_followed_too():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = EMA(model, ConstantDecay(0.5, warmup=1e-9))
    average.model[0].weight = model[0].weight
    other = copy.deepcopy(model)
    with torch.no_grad():
        for followed in (model, other):
            followed[1].running_mean += 1
            before, shared = average.model[0].bias.clone(), followed[0].weight.clone()
            followed[0].bias.normal_()
            average.update(followed)
            assert torch.equal(followed[0].weight, shared)
            assert torch.equal(average.model[1].running_mean, followed[1].running_mean)
            assert not torch.equal(average.model[0].bias, before)
