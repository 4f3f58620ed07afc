"""Sampling without training at fewer evaluations stays near the exact samples, within what docs/samplers.md states."""

import pytest
from accelerations import CONDITIONS, measured

import multidiff

MARGIN = 2
"""Between the figures in docs/samplers.md, of 16 samples, and the bound for the two samples of the test."""

STATED = {
    "drums": {
        "fitted grid": 0.087,
        "features of 2 steps": 0.180,
        "guidance in (-4.0, 2.0)": 0.044,
        "guidance in (-2.0, 2.0)": 0.090,
        "guidance in (-1.065, 1.273)": 0.155,
        "bfloat16": 0.045,
    },
    "emoji": {"bfloat16": 0.105},
}
"""Differences from many steps, in standard deviations of x0; those that are left out change samples visibly."""


@pytest.mark.slow
@pytest.mark.parametrize("model", STATED)
def test_accelerations_stay_within_their_stated_differences_and_save_evaluations(model):
    found = measured(multidiff.load(model, "cpu"), CONDITIONS[model][:1], 2)
    plain = found["20 steps"]
    for way, stated in STATED[model].items():
        figures = found[way]
        assert figures.change > 1e-3, way
        assert figures.difference < MARGIN * stated, way
        assert figures.cost == plain.cost if way == "bfloat16" else figures.cost < 0.9 * plain.cost, way
    assert found["fitted grid"].cost == pytest.approx(plain.cost / 2)
