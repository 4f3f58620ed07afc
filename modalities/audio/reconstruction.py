"""What the training of an autoencoder of sounds minimises."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multidiff.codecs.autoencoder import Autoencoder
from multidiff.codecs.losses import Batch, Reconstruction
from multidiff.codecs.losses.adversarial import PatchDiscriminator, adversarial_terms
from multidiff.data.dataset import Dataset
from multidiff.errors import InputError
from multidiff.modality import Modality

FLOOR = 1e-5
"""Magnitude that is added before the logarithm: about 100 dB below a tone of full scale."""


class SpectralDistance(nn.Module):
    """The distance of short-time spectra at several resolutions, of magnitudes and of their logarithms.

    For each size of the window, the spectral convergence plus the mean absolute difference of log magnitudes; their
    mean over sizes. Yamamoto et al. (2020), section 2.2, https://arxiv.org/abs/1910.11480.

    Args:
        sizes: of the windows, in samples; a hop is a quarter.
    """

    def __init__(self, sizes: Sequence[int]):
        super().__init__()
        self.sizes = tuple(sizes)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """The distance of two batches of waveforms ``(B, C, T)``, a scalar; ``second`` is the reference."""
        distances = []
        for size in self.sizes:
            a, b = self._magnitudes(first, size), self._magnitudes(second, size)
            convergence = (a - b).norm() / (b.norm() + FLOOR)
            distances.append(convergence + ((a + FLOOR).log() - (b + FLOOR).log()).abs().mean())
        return torch.stack(distances).mean()

    def _magnitudes(self, waveforms: Tensor, size: int) -> Tensor:
        rows = waveforms.flatten(0, 1).float()
        window = torch.hann_window(size, device=rows.device)
        padded = F.pad(rows, (0, max(0, size - rows.shape[-1])))
        spectrum = torch.stft(padded, size, size // 4, window=window, pad_mode="constant", return_complex=True)
        return torch.sqrt(spectrum.real.square() + spectrum.imag.square() + FLOOR**2) / window.sum()


class AudioReconstruction(Reconstruction):
    """The distance of spectra, of mid and side for stereo, the absolute difference of samples, and a discriminator.

    Args:
        spectral: weight of the distance of spectra.
        sizes: of their windows, in samples.
        waveform: weight of the absolute difference of samples, which keeps phases.
        adversarial: weight of the discriminator, which judges waveforms; 0 for none.
        adversarial_start: step from which the discriminator counts.
        adversarial_width: channels of its first layer.

    Raises:
        InputError: a weight below 0, or no size.
    """

    def __init__(
        self,
        spectral: float = 1.0,
        sizes: Sequence[int] = (64, 128, 256, 512, 1024, 2048),
        waveform: float = 10.0,
        adversarial: float = 0.0,
        adversarial_start: int = 1000,
        adversarial_width: int = 32,
    ):
        super().__init__()
        if min(spectral, waveform, adversarial) < 0:
            raise InputError(f"weights are at least 0, got {spectral=}, {waveform=} and {adversarial=}")
        if not sizes or min(sizes) < 4:
            raise InputError(f"windows have at least 4 samples, got sizes={list(sizes)}")
        self.spectral, self.waveform, self.adversarial = spectral, waveform, adversarial
        self.start, self.width = adversarial_start, adversarial_width
        self.distance = SpectralDistance(sizes)
        self.discriminator: PatchDiscriminator | None = None

    def prepare(self, modality: Modality[Any], dataset: Dataset, holdout: float, seed: int) -> None:
        if self.adversarial:
            self.discriminator = PatchDiscriminator(1, dataset.shape[0], self.width, (16, 4, 4))

    def forward(self, autoencoder: Autoencoder, batch: Batch, generator: torch.Generator | None) -> dict[str, Tensor]:
        latents = autoencoder.latents(batch.data, generator)
        decoded = autoencoder.decode(latents.values)[
            ..., : batch.data.shape[-1]
        ]  # without the padding to whole latents
        ours, theirs = mid_and_side(decoded), mid_and_side(batch.data)
        terms = {
            "spectral": self.spectral * self.distance(ours, theirs),
            "waveform": self.waveform * (ours - theirs).abs().mean(),
        }
        if self.discriminator is not None and generator is not None:
            last = [each for each in autoencoder.decoder.modules() if isinstance(each, nn.Conv1d)][-1].weight
            whole, active = torch.stack(list(terms.values())).sum(), batch.step >= self.start
            added = adversarial_terms(self.discriminator, batch.data, decoded, whole, last, active)
            terms |= {**added, "adversarial": self.adversarial * added["adversarial"]}
        return {**terms, "kl": latents.penalty}


def mid_and_side(waveforms: Tensor) -> Tensor:
    """``(B, 2, T)``: the mean of left and right, and half their difference; mono as it is."""
    if waveforms.shape[1] != 2:
        return waveforms
    left, right = waveforms.chunk(2, dim=1)
    return torch.cat([(left + right) / 2, (left - right) / 2], dim=1)
