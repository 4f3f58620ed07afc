"""A network, and what goes into it, for test files that have a fixture ``name``."""

import pytest
from torch import Tensor, nn

from multidiff.diffusion.conditioning import Conditioning
from tests.backbones import make_inputs, make_network


@pytest.fixture
def network(name) -> nn.Module:
    return make_network(name)


@pytest.fixture
def inputs(name) -> tuple[Tensor, Tensor, Conditioning]:
    return make_inputs(name)


@pytest.fixture
def x(inputs) -> Tensor:
    return inputs[0]


@pytest.fixture
def log_snr(inputs) -> Tensor:
    return inputs[1]


@pytest.fixture
def cond(inputs) -> Conditioning:
    return inputs[2]
