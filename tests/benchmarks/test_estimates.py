"""Errors of estimates are relative to that of a model that knows the mean alone."""

from types import SimpleNamespace

import pytest
import torch
from estimates import TIMES, errors

from multidiff.diffusion.denoiser import Denoiser
from multidiff.diffusion.schedules import RectifiedFlow

DATA = torch.tensor([[-3.0], [0.0], [9.0], [3.0]])
HELD_OUT = [0, 1, 3]
"""Their mean is 0."""


class Told(Denoiser):
    """Returns the condition, or the mean of the data."""

    schedule = RectifiedFlow()

    def forward(self, x_t, t, cond=None):
        return torch.zeros_like(x_t) if cond is None else cond


@pytest.mark.parametrize(
    ("reads", "expected"), [(set(), {"none": 1}), ({"row"}, {"own conditions": 0, "none": 1, "another's": 3})]
)
def test_errors_are_those_of_what_the_model_is_told(reads, expected):
    model = SimpleNamespace(
        conditioner=SimpleNamespace(reads=reads),
        denoiser=Told(),
        encode=lambda data: data,
        condition=lambda given: torch.stack([DATA[fields["row"]] for fields in given]) if all(given) else None,
    )
    reference = SimpleNamespace(
        held_out=HELD_OUT, dataset=SimpleNamespace(fields={"row": range(len(DATA))}), data=DATA.__getitem__
    )
    found = errors(model, reference, 2 * len(HELD_OUT))
    assert list(found) == list(TIMES)
    assert all(row == pytest.approx(expected) for row in found.values())
