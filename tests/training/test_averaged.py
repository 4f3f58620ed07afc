"""The learning rate over a training."""

from types import SimpleNamespace

import pytest
from torch import nn
from torch.optim import SGD

from multidiff.training.averaged import AveragedModule
from multidiff.training.ema import ConstantDecay
from multidiff.training.stability import Stability

RISING = [0.5, 1, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("cooldown", "rates"),
    [
        (0.0, RISING),
        (0.5, [0.5, 1, 1, 1, 1, 0.75, 0.5, 0.25]),
        (1.0, [0.5, 7 / 8, 6 / 8, 5 / 8, 0.5, 3 / 8, 0.25, 1 / 8]),
    ],
)
def test_the_learning_rate_rises_and_falls_to_zero_in_the_cooldown(cooldown, rates):
    network = nn.Linear(1, 1)
    optimizer = SGD(network.parameters(), 1.0)
    module = AveragedModule(network, ConstantDecay(), optimizer, 2, cooldown, 0, Stability())
    module._trainer = SimpleNamespace(max_steps=8)
    schedule = module.configure_optimizers()["lr_scheduler"]["scheduler"]
    for rate in rates:
        assert optimizer.param_groups[0]["lr"] == pytest.approx(rate)
        optimizer.step()
        schedule.step()
