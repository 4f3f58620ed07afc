"""Training refuses parts that break their contract, before a model is trained on something else than meant."""

import pytest

from multidiff.codecs import Identity
from multidiff.diffusion.objectives import Denoising
from multidiff.diffusion.schedules import Cosine
from multidiff.errors import InputError
from multidiff.nn.unet import UNet
from tests.tiny import tiny_train


def mean_loss(monkeypatch):
    at = Denoising.at
    monkeypatch.setattr(Denoising, "at", lambda self, *arguments: at(self, *arguments).mean())


def cropping_codec(monkeypatch):
    monkeypatch.setattr(Identity, "encode", lambda self, data: data[..., 1:, 1:])


def cropping_network(monkeypatch):
    forward = UNet.forward
    monkeypatch.setattr(UNet, "forward", lambda self, *arguments: forward(self, *arguments)[..., 1:])


def noisy_schedule(monkeypatch):
    monkeypatch.setattr(Cosine, "sigma", lambda self, t: 0.1 + 0.9 * t)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (mean_loss, r"an objective returns a loss for each sample, \(\d+,\), got \(\)"),
        (cropping_codec, r"Identity encodes a sample to \(1, 7, 7\), and its method shape says \(1, 8, 8\)"),
        (cropping_network, r"the network UNet must return a tensor of shape \(\d+, 1, 8, 8\), got \(\d+, 1, 8, 7\)"),
        (noisy_schedule, "the schedule Cosine must start at alpha = 1 and sigma = 0"),
    ],
)
def test_a_part_that_breaks_its_contract_is_refused(tmp_path, monkeypatch, broken, message):
    broken(monkeypatch)
    with pytest.raises(InputError, match=message):
        tiny_train(tmp_path, "trainer.max_steps=1")
