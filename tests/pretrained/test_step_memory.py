"""The memory that a step is expected to need is what it needs."""

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from multidiff.diffusion.objectives import Context
from multidiff.training.tuning_run import build_tuning
from tests.pretrained.tuned import tuned_config

FACTOR = 1.1
"""Between expected and measured memory, at most; docs/pretrained.md states it."""


def measured(run):
    """Bytes that torch allocates at most in a real step on the CPU, beyond the weights."""
    model, count = run.module.model.train(), run.settings["loader"]["batch_size"]
    fields, x0 = [{"caption": "fox 1"}] * count, torch.randn(count, *run.pipeline.shape)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        context = Context(model.denoiser, x0, model.condition(fields), torch.Generator())
        run.module.objective(context).mean().backward()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


def run_of(pipeline, pictures, tmp_path, *changes):
    settings = ("data.size=16", "tuning.views=0", "loader.batch_size=32")
    return build_tuning(tuned_config(pipeline, pictures, tmp_path / "run", *settings, *changes))


CHANGES = {
    "lora": (),
    "checkpointing": ("tuning.gradient_checkpointing=true",),
    "all weights": ("tuning=full",),
    "text encoders": ("tuning.text_targets=[q_proj,v_proj]",),
}
FAST, SLOW = [*CHANGES][:1], [pytest.param(name, marks=pytest.mark.slow) for name in [*CHANGES][1:]]


@pytest.mark.parametrize("name", [*FAST, *SLOW])
def test_a_step_needs_what_is_expected(saved_xl, pictures, tmp_path, name):
    run = run_of(saved_xl[0], pictures, tmp_path, *CHANGES[name])
    expected = run.memory(run.settings["loader"]["batch_size"])
    assert all(weight.grad is None for weight in run.module.parameters())
    assert 1 / FACTOR < measured(run) / expected.step < FACTOR
