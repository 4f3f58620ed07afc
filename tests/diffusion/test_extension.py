"""A stationary process, extended with its exact denoiser, stays stationary."""

import pytest
import torch
from torch import Tensor

from multidiff.diffusion.denoiser import Denoiser, coefficients
from multidiff.diffusion.extension import Extend
from multidiff.diffusion.grids import Uniform
from multidiff.diffusion.noise import NoiseSource
from multidiff.diffusion.samplers import DDPM, DPMSolverMultistep
from multidiff.diffusion.schedules import Cosine

WINDOW, OVERLAP, BATCH = 32, 16, 400
SCHEDULE = Cosine()


class Process(Denoiser):
    """The exact denoiser of a stationary Gaussian process with correlations ``0.9^lag cos(lag / 2)``."""

    schedule = SCHEDULE

    def __init__(self):
        super().__init__()
        lag = torch.arange(WINDOW, dtype=torch.float64)
        self.correlation = 0.9**lag * torch.cos(lag / 2)
        self.covariance = self.correlation[(lag[:, None] - lag).abs().long()]

    def forward(self, x_t: Tensor, t: Tensor, cond=None) -> Tensor:
        a, s = (level.flatten()[0] for level in coefficients(self.schedule, t, x_t))
        gain = a * self.covariance @ torch.linalg.inv(a**2 * self.covariance + s**2 * torch.eye(WINDOW))
        return x_t @ gain.T


def noise(batch=BATCH):
    return NoiseSource(range(batch), (1, WINDOW), torch.float64)


def processes(count, length, seed=0):
    """Samples of the process, ``(count, length)``."""
    lag = torch.arange(length, dtype=torch.float64)
    distance = (lag[:, None] - lag).abs()
    root = torch.linalg.cholesky(0.9**distance * torch.cos(distance / 2))
    normal = torch.randn(count, length, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return normal @ root.T


@pytest.fixture(scope="module")
def starts():
    return processes(BATCH, WINDOW)


def extended_from(starts, repeats):
    """``starts``, each extended to 5 times its length."""
    method = Extend(starts[:, None], 5 * WINDOW, OVERLAP, repeats)
    return method(Process(), noise(), DPMSolverMultistep(SCHEDULE), Uniform()(SCHEDULE, 20))[:, 0]


@pytest.fixture(scope="module")
def extended(starts):
    return extended_from(starts, repeats=5)


def centroid(x):
    """Spectral centroid of each segment of ``WINDOW`` positions, in cycles per position, ``(segments,)``."""
    power = torch.fft.rfft(x.unflatten(-1, (-1, WINDOW))).abs().square().mean(dim=0)
    return (power * torch.fft.rfftfreq(WINDOW, dtype=x.dtype)).sum(dim=-1) / power.sum(dim=-1)


def test_the_beginning_is_kept(starts, extended):
    assert extended.shape == (BATCH, 5 * WINDOW)
    assert torch.equal(extended[:, :WINDOW], starts)


def test_scale_and_spectrum_do_not_drift(extended):
    """Over four times the length. A short grid lowers the scale once, not with every window."""
    scale = extended.unflatten(-1, (5, WINDOW)).square().mean(dim=(0, 2)).sqrt()
    assert ((scale - 1).abs() < 0.12).all()
    assert ((scale[1:] - scale[1:].mean()).abs() < 0.03).all()
    real = centroid(processes(BATCH, 5 * WINDOW, seed=1))
    assert ((centroid(extended) - real).abs() < 0.15 * real.mean()).all()


def test_resampling_improves_the_correlation_across_seams(starts, extended):
    seams = torch.arange(WINDOW, 5 * WINDOW, WINDOW - OVERLAP)

    def correlation(x):
        return (x[:, seams] * x[:, seams - 1]).mean() / x.square().mean()

    once, five_times = (Process().correlation[1] - correlation(x) for x in (extended_from(starts, 1), extended))
    assert once > 2 * five_times
    assert five_times < 0.15


def test_a_sample_does_not_depend_on_its_batch_and_the_length_is_exact(starts):
    def extend(rows, length):
        method = Extend(starts[0, None], length, OVERLAP, repeats=2)
        return method(Process(), noise(rows), DDPM(SCHEDULE), Uniform()(SCHEDULE, 5))

    for length in (WINDOW + 1, 2 * WINDOW, 2 * WINDOW + 5):
        together = extend(3, length)
        assert together.shape == (3, 1, length)
        torch.testing.assert_close(extend(1, length), together[:1])
        assert not torch.allclose(together[0], together[1])


def test_a_beginning_may_be_shorter_than_the_overlap(starts):
    short = starts[0, None, :3]
    whole = Extend(short, 40, OVERLAP, repeats=2)(Process(), noise(2), DDPM(SCHEDULE), Uniform()(SCHEDULE, 5))
    assert whole.shape == (2, 1, 40)
    assert torch.equal(whole[:, :, :3], short.expand(2, 1, 3))


def test_samples_of_any_dimension_grow_along_the_last_axis():
    class Zero(Denoiser):
        schedule = SCHEDULE

        def forward(self, x_t, t, cond=None):
            return 0 * x_t

    source = NoiseSource([0], (3, 4, 8), torch.float64)
    x0 = torch.randn(3, 4, 6, dtype=torch.float64)
    whole = Extend(x0, 19, 4)(Zero(), source, DDPM(SCHEDULE), Uniform()(SCHEDULE, 3))
    assert torch.equal(whole[0, ..., :6], x0)
    assert not whole[..., 6:].any()


def test_window_boundaries_are_discarded():
    """Samples that are 9 at two positions at either end and 1 elsewhere, like spectrograms with padded windows."""

    class Edged(Denoiser):
        schedule = SCHEDULE

        def forward(self, x_t, t, cond=None):
            place = torch.arange(WINDOW)
            return torch.where((place < 2) | (place >= WINDOW - 2), 9.0, 1.0).expand_as(x_t).to(x_t.dtype)

    def extend(start, edge):
        method = Extend(torch.ones(1, start, dtype=torch.float64), 3 * WINDOW, 10, edge=edge)
        return method(Edged(), noise(1), DDPM(SCHEDULE), Uniform()(SCHEDULE, 3))[0, 0, start:]

    for start in (4, 10, WINDOW):  # shorter than the overlap, as long, and longer
        assert torch.equal(extend(start, edge=2), torch.ones(3 * WINDOW - start, dtype=torch.float64))
        assert (extend(start, edge=0) == 9).any()


def test_windows_are_aligned_with_the_period():
    class Periodic(Denoiser):
        schedule = SCHEDULE

        def forward(self, x_t, t, cond=None):
            return (torch.arange(WINDOW) % 4).expand_as(x_t).to(x_t.dtype)

    def extend(start, period):
        method = Extend(torch.zeros(1, start, dtype=torch.float64), 3 * WINDOW, 11, period=period)
        return method(Periodic(), noise(1), DDPM(SCHEDULE), Uniform()(SCHEDULE, 3))[0, 0, start:]

    for start in (3, 11, WINDOW + 1):
        expected = (torch.arange(start, 3 * WINDOW) % 4).double()
        assert torch.equal(extend(start, period=4), expected)
        assert not torch.equal(extend(start, period=1), expected)


@pytest.mark.parametrize(
    ("length", "overlap", "message"),
    [
        (WINDOW, 4, "above that of x0"),
        (2 * WINDOW, 0, "at least 1 position"),
        (2 * WINDOW, WINDOW, "leaves none to generate"),
    ],
)
def test_impossible_lengths_are_refused(starts, length, overlap, message):
    with pytest.raises(ValueError, match=message):
        Extend(starts[0, None], length, overlap)(Process(), noise(1), DDPM(SCHEDULE), Uniform()(SCHEDULE, 2))
