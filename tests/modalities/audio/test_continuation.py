"""Continued to five times its length through an exact denoiser, a steady sound stays one, at its seams too."""

import numpy as np
import pytest
import torch

from modalities.audio.clip import AudioClip
from modalities.audio.frontends import STFT, PatchedWaveform
from modalities.audio.modality import AudioModality
from multidiff.conditioners import Unconditional
from multidiff.diffusion.denoiser import Denoiser, levels
from multidiff.diffusion.schedules import Cosine
from multidiff.model import Model
from multidiff.sampling.pipeline import Pipeline
from multidiff.sampling.plan import Sampling, load_sampler

RATE, SECOND, LEVEL, DRAWS = 1000, 64, 0.2, 64
"""A second is what a window lasts; there are 64 samples in it, so that it is one in name only."""

FRONTENDS = [PatchedWaveform(4), STFT(16, 8, power=1.0), STFT(16, 8, power=1.0, clock=True)]

LAGS = torch.arange(5 * SECOND, dtype=torch.float64)
CORRELATION = 0.95**LAGS * torch.cos(0.6 * LAGS)


def covariance(length):
    lag = torch.arange(length)
    return LEVEL**2 * CORRELATION[(lag[:, None] - lag).abs()]


class Resonance(Denoiser):
    """The exact denoiser of a resonance rung by noise, as a linear frontend shows it."""

    schedule = Cosine()

    def __init__(self, modality):
        super().__init__()
        frames = [modality.frontend.encode(sample[None]).flatten() for sample in torch.eye(SECOND)]
        encoding = torch.stack(frames, dim=1).double()
        self.covariance = encoding @ covariance(SECOND) @ encoding.T
        self.dtype = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, x_t, t, cond=None):
        a, s = (float(level.flatten()[0]) for level in levels(self.schedule, t, x_t))
        noisy = a**2 * self.covariance + s**2 * torch.eye(len(self.covariance))
        return (x_t.flatten(1) @ torch.linalg.solve(noisy, a * self.covariance)).reshape(x_t.shape)


@pytest.fixture(scope="module", params=FRONTENDS, ids=["patched", "stft", "clock"])
def continued(request):
    """``(DRAWS, 5 SECOND)``, all beginning with the same draw of the process."""
    modality = AudioModality(RATE, request.param)
    model, sampling = Model(Resonance(modality), Unconditional()), Sampling(load_sampler("dpmpp_2m"))
    pipeline = Pipeline(model, modality, modality.shape(SECOND), sampling)
    normal = torch.randn(SECOND, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    start = AudioClip((torch.linalg.cholesky(covariance(SECOND)) @ normal).numpy()[None], RATE)
    clips = pipeline.extend(start, 4 * SECOND / RATE, n=DRAWS, steps=12)
    waves = torch.from_numpy(np.stack([clip.waveform[0] for clip in clips])).double()
    assert torch.allclose(waves[:, : SECOND - 16], start.tensor()[:, : SECOND - 16].double(), atol=1e-6)
    return waves[:, : 5 * SECOND]


def test_level_and_spectrum_are_steady_over_four_times_the_length(continued):
    """Second by second, of which the first still knows the beginning, here a loud one.

    That few steps take a little from the level, they do once, not with every window.
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


def test_no_seam_can_be_heard(continued):
    """A click is what the samples before do not foretell: at no place is that error far above the usual one."""
    order = 8
    toeplitz = covariance(order + 1)
    foretell = torch.linalg.solve(toeplitz[:order, :order], toeplitz[:order, order])
    windows = continued.unfold(1, order + 1, 1)
    error = (windows[..., order] - windows[..., :order] @ foretell).square().mean(dim=0).sqrt()[SECOND - order :]
    assert error.max() < 2 * error.median()
