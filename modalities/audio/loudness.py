"""Loudness normalisation, and detection of silence."""

import numpy as np
import torch
import torch.nn.functional as F
from torchaudio.functional import loudness

SILENCE = -60.0
"""dB of full scale: a sound that never exceeds it is silent."""

_BLOCK = 0.4
"""Length of the blocks of the standard, in seconds."""


def is_silent(waveform: np.ndarray) -> bool:
    """Whether no sample of ``waveform`` is above `SILENCE`."""
    return bool(np.abs(waveform).max() < 10 ** (SILENCE / 20))


def at_loudness(waveform: np.ndarray, sample_rate: int, target: float, peak: float = 0.9) -> np.ndarray:
    """``waveform`` with a gain that brings it to ``target`` LUFS, limited so that its peak is at most ``peak``.

    ITU-R BS.1770-4, https://www.itu.int/rec/R-REC-BS.1770: K-weighted, gated, over blocks of 0.4 s. A
    shorter sound is padded with silence for the measurement.

    Args:
        waveform: ``(C, T)``, not silent.
        sample_rate: samples a second.
        target: in LUFS, such as -23 for broadcast and -14 for streaming.
        peak: largest magnitude of the result.
    """
    missing = max(0, round(_BLOCK * sample_rate) - waveform.shape[1])
    measured = loudness(F.pad(torch.tensor(waveform), (0, missing)), sample_rate).item()
    limit = peak / np.abs(waveform).max()
    gain = min(limit, 10 ** ((target - measured) / 20)) if np.isfinite(measured) else limit
    return (waveform * gain).astype(np.float32)
