"""Gradient checkpointing reduces memory and leaves gradients unchanged."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from multidiff.configuration import instantiate, load_option

SHAPES = {
    "unet": (3, 16, 16),
    "unet1d_small": (64, 48),
    "dit": (3, 16, 16),
    "points_latent_small": (6, 256),
    "points_plain": (6, 64),
}
SMALL = {
    "unet": {"widths": [32, 32], "blocks": [2, 2], "attention": [False, True], "head_size": 32},
    "unet1d_small": {"widths": [32, 32], "blocks": [2, 2], "head_size": 32},
    "dit": {"width": 64},
    "points_latent_small": {},
    "points_plain": {"width": 64, "depth": 4},
}
BATCH = 4


def network(preset, spare):
    torch.manual_seed(0)
    settings = {**load_option("backbone", preset), **SMALL[preset], "dropout": 0.2, "gradient_checkpointing": spare}
    made = instantiate(nn.Module, settings, channels=SHAPES[preset][0])
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return made


def backward(net, preset):
    """Gradients after one pass with dropout."""
    x, t = torch.randn(BATCH, *SHAPES[preset], generator=torch.Generator().manual_seed(1)), torch.linspace(-1, 1, BATCH)
    torch.manual_seed(2)
    net(x, t).square().mean().backward()
    return {name: parameter.grad for name, parameter in net.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("preset", SHAPES)
def test_gradients_are_the_same(preset):
    plain, spared = (backward(network(preset, spare), preset) for spare in (False, True))
    assert plain.keys() == spared.keys()
    for name in plain:
        torch.testing.assert_close(spared[name], plain[name], rtol=1e-5, atol=1e-7)


def peak(net, preset):
    """Peak memory of a pass in bytes, relative to its start."""
    backward(net, preset)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        backward(net, preset)
    events = [event for event in trace.profiler.kineto_results.events() if event.name() == "[memory]"]
    return np.cumsum([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]).max()


@pytest.mark.parametrize("preset", ["unet", "unet1d_small", "points_latent_small"])
def test_memory_of_activations_is_at_most_half(preset):
    plain, spared = (peak(network(preset, spare), preset) for spare in (False, True))
    print(f"{preset}: {plain / 1e6:.1f} MB, {spared / 1e6:.1f} MB with gradient checkpointing")
    assert spared <= plain / 2
