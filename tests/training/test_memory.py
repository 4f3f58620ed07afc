"""The memory of a step is computed without a trace in the process that then trains."""

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from multidiff.codecs.losses import Batch
from multidiff.configuration import compose
from multidiff.nn.resample import lowpass
from multidiff.nn.unet import UNet
from multidiff.training.memory import peak_of_step
from multidiff.training.train import built


@pytest.mark.parametrize("dims", [1, 2])
def test_a_network_of_which_it_is_computed_first_computes_with_values_afterwards(dims):
    settings = {"widths": [8, 8], "blocks": [1, 1], "attention": [False, True], "head_size": 8}
    network = UNet(dims=dims, channels=2, filtered=True, **settings)
    x, log_snr = torch.randn(2, 2, *dims * [16]), torch.zeros(2)
    lowpass.cache_clear()
    assert peak_of_step([network], [(0, (x, log_snr), {})]) > x.nbytes
    network(x, log_snr).square().mean().backward()
    assert all(torch.isfinite(weight.grad).all() for weight in network.parameters())


FACTOR = 1.1
"""Between expected and measured memory, at most."""

CODECS = {
    "image": (
        *("experiment=codec/image", "data=digits", "modality.channels=1", "autoencoder.widths=[8,16]"),
        *("reconstruction.encoder_steps=1", "reconstruction.adversarial=0.5"),
    ),
    "audio": (
        *("experiment=codec/audio", "data=drums", "modality.sample_rate=8000", "modality.stereo=false"),
        *("data.seconds=0.3", "data.count=40", "autoencoder.widths=[8,16,16,16]", "reconstruction.adversarial=0.5"),
    ),
    "shape": (
        *("experiment=codec/shape", "data=furniture_distances", "data.points=256", "data.queries=256"),
        *("data.count=12", "autoencoder.width=32", "autoencoder.latents=16"),
    ),
}


def measured(run):
    """Bytes that torch allocates at most in a real step of a codec on the CPU, beyond the weights."""
    module, count = run.module, run.settings["loader"]["batch_size"]
    batch = Batch(torch.rand(count, *run.dataset.shape), [{}] * count, 10**6)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        terms = module.reconstruction(module.model, batch, torch.Generator())
        torch.stack(list(terms.values())).sum().backward()
    now = peak = 0
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


@pytest.mark.slow
@pytest.mark.parametrize("kind", CODECS)
def test_a_step_of_a_codec_needs_what_is_expected(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("MULTIDIFF_CACHE", str(tmp_path / "cache"))
    config = compose([*CODECS[kind], "optimizer=adamw", "trainer.accelerator=cpu", "loader.batch_size=32"])
    config.run_dir = str(tmp_path / "run")
    run = built(config)
    expected = run.memory(32)
    assert all(weight.grad is None for weight in run.module.parameters())
    assert 1 / FACTOR < measured(run) / expected.step < FACTOR
    monkeypatch.setattr("multidiff.training.memory.room_of", lambda device: run.memory(16).total)
    monkeypatch.setattr("multidiff.training.memory.COUNTED", 0)
    assert run.obstacles[0].endswith("are available: set loader.batch_size=16")
