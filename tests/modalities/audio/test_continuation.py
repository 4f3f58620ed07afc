"""Extended to five times its length with an exact denoiser, a stationary sound stays stationary, also at the seams."""

import numpy as np
import pytest
import torch

from modalities.audio.clip import AudioClip
from modalities.audio.codecs import STFT, PatchedWaveform
from modalities.audio.modality import AudioModality
from multidiff.conditioners import Conditioner
from multidiff.diffusion.denoiser import Denoiser, coefficients
from multidiff.diffusion.schedules import Cosine
from multidiff.model import Model
from multidiff.sampling.pipeline import Pipeline
from multidiff.sampling.sampler_config import load_sampler

RATE, SECOND, LEVEL, DRAWS = 1000, 64, 0.2, 64
"""SECOND is the length of a window, 64 samples."""

CODECS = [PatchedWaveform(4), STFT(16, 8, power=1.0), STFT(16, 8, power=1.0, clock=True)]

LAGS = torch.arange(5 * SECOND, dtype=torch.float64)
CORRELATION = 0.95**LAGS * torch.cos(0.6 * LAGS)


def covariance(length):
    lag = torch.arange(length)
    return LEVEL**2 * CORRELATION[(lag[:, None] - lag).abs()]


class Resonance(Denoiser):
    """The exact denoiser of filtered noise, in the space of a linear codec."""

    schedule = Cosine()

    def __init__(self, codec):
        super().__init__()
        encoding = codec.encode(torch.eye(SECOND)[:, None]).flatten(1).T.double()
        self.covariance = encoding @ covariance(SECOND) @ encoding.T
        self.dtype = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, x_t, t, cond=None):
        a, s = (float(level.flatten()[0]) for level in coefficients(self.schedule, t, x_t))
        noisy = a**2 * self.covariance + s**2 * torch.eye(len(self.covariance))
        return (x_t.flatten(1) @ torch.linalg.solve(noisy, a * self.covariance)).reshape(x_t.shape)


@pytest.fixture(scope="module", params=CODECS, ids=["patched", "stft", "clock"])
def continued(request):
    """``(DRAWS, 5 SECOND)``, all beginning with the same realisation."""
    modality, codec = AudioModality(RATE), request.param
    model = Model(codec, Conditioner({}), Resonance(codec))
    pipeline = Pipeline(model, modality, codec.shape((1, SECOND)), load_sampler("dpmpp_2m"))
    normal = torch.randn(SECOND, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    start = AudioClip((torch.linalg.cholesky(covariance(SECOND)) @ normal).numpy()[None], RATE)
    clips = pipeline.extend(start, 4 * SECOND / RATE, n=DRAWS, steps=12)
    waves = torch.from_numpy(np.stack([clip.waveform[0] for clip in clips])).double()
    assert torch.allclose(waves[:, : SECOND - 16], start.tensor()[:, : SECOND - 16].double(), atol=1e-6)
    return waves[:, : 5 * SECOND]


def test_level_and_spectrum_are_steady_over_four_times_the_length(continued):
    """Window by window, of which the first still depends on the beginning, here a loud one.

    Few sampling steps lower the level a little, once, and not again with every window.
    """
    seconds = continued.unflatten(1, (5, SECOND))[:, 1:]
    level = seconds.square().mean(dim=(0, 2)).sqrt() / LEVEL
    steady = level[1:].mean()
    assert ((level / steady - 1).abs() < torch.tensor([0.3, 0.1, 0.1, 0.1])).all()  # 0.1: three standard errors
    assert 0.7 < steady < 1.1
    power = torch.fft.rfft(seconds * torch.hann_window(SECOND)).abs().square().mean(dim=0)
    hertz = torch.fft.rfftfreq(SECOND, 1 / RATE)
    centroid = (power * hertz).sum(dim=1) / power.sum(dim=1)
    assert ((centroid / centroid.mean() - 1).abs() < 0.05).all()
    assert centroid.mean() == pytest.approx(0.6 / (2 * np.pi) * RATE, rel=0.15)


def test_the_seams_do_not_stand_out(continued):
    """Linear prediction from the samples before: its error is nowhere far above the median."""
    order = 8
    toeplitz = covariance(order + 1)
    predictor = torch.linalg.solve(toeplitz[:order, :order], toeplitz[:order, order])
    windows = continued.unfold(1, order + 1, 1)
    error = (windows[..., order] - windows[..., :order] @ predictor).square().mean(dim=0).sqrt()[SECOND - order :]
    assert error.max() < 2 * error.median()
