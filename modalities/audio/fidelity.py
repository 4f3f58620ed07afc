"""How near a decoded sound is to its original."""

import math

import torch
from torch import Tensor

from modalities.audio.mel import MelSpectrograms, decibels
from modalities.audio.reconstruction import SpectralDistance, mid_and_side

SIZES = (64, 128, 256, 512, 1024, 2048)
"""Windows of the distance of spectra, in samples."""

SILENCE = 1e-10
"""Energy that is added to both sides of a ratio."""


def fidelity(original: Tensor, decoded: Tensor, sample_rate: int) -> dict[str, float]:
    """Three measures of two waveforms ``(C, T)``.

    ``si_sdr_db``: the scale-invariant ratio of signal to distortion (Le Roux et al. 2019,
    https://arxiv.org/abs/1811.02508). ``log_mel_db``: the mean absolute difference of log-mel spectrograms.
    ``spectral``: the distance of spectra that codecs are trained with, of mid and side.
    """
    mel = MelSpectrograms(sample_rate, original.shape[0], original.shape[-1])
    first, second = (decibels(mel.of_waveforms(x[None])) for x in (original, decoded))
    distance = SpectralDistance(SIZES)
    return {
        "si_sdr_db": si_sdr(original, decoded),
        "log_mel_db": float((first - second).abs().mean()),
        "spectral": float(distance(mid_and_side(decoded[None]), mid_and_side(original[None]))),
    }


def si_sdr(original: Tensor, decoded: Tensor) -> float:
    """The energy of the part of ``decoded`` that is a multiple of ``original``, over that of the rest, in dB."""
    x, y = original.flatten().double(), decoded.flatten().double()
    part = (torch.dot(x, y) / (torch.dot(x, x) + SILENCE)) * x
    signal, distortion = float(part.square().sum()), float((y - part).square().sum())
    return 10 * math.log10((signal + SILENCE) / (distortion + SILENCE))
