"""Fixtures: every schedule, and a Gaussian mixture under it."""

import pytest
import torch

from multidiff.diffusion.mixture import GaussianMixture
from multidiff.diffusion.schedules import (
    Cosine,
    Karras,
    LinearVP,
    RectifiedFlow,
    Schedule,
    Sigmoid,
    ZeroTerminalSNR,
)

SCHEDULES = {
    "linear": LinearVP(),
    "cosine": Cosine(),
    "sigmoid": Sigmoid(),
    "karras": Karras(),
    "flow": RectifiedFlow(),
    "shifted flow": RectifiedFlow(shift=3.0),
    "zero terminal": ZeroTerminalSNR(LinearVP()),
}


@pytest.fixture(params=SCHEDULES)
def schedule(request: pytest.FixtureRequest) -> Schedule:
    return SCHEDULES[request.param]


def mixture_of(schedule: Schedule) -> GaussianMixture:
    """Three components in 2 dimensions, ``(B, 2)``, at about unit scale."""
    means = torch.tensor([[1.0, 0.5], [-0.8, 0.9], [0.1, -1.2]], dtype=torch.float64)
    return GaussianMixture(
        schedule, means, torch.tensor([0.3, 0.4, 0.5]).double(), torch.tensor([0.5, 0.3, 0.2]).double()
    )


@pytest.fixture
def mixture(schedule: Schedule) -> GaussianMixture:
    return mixture_of(schedule)
