"""Loudness by ITU-R BS.1770-4, https://www.itu.int/rec/R-REC-BS.1770, and detection of silence."""

import math

import numpy as np

from modalities.audio.blocks import BLOCK, peak

SILENCE = 10 ** (-60 / 20)
"""Magnitude that a silent sound never exceeds, or else the range of its values: -60 dB of full scale."""

HOP = 0.1
"""Seconds from one block to the next."""

OVERLAP = 4
"""Hops that a block lasts."""

_ABSOLUTE_GATE, _RELATIVE_GATE = -70.0, -10.0


def is_silent(waveform: np.ndarray) -> bool:
    """Whether no sample of ``waveform``, ``(C, T)``, is above `SILENCE`, or its channels keep a constant level."""
    return peak(waveform) < SILENCE or float(np.ptp(waveform, axis=1).max()) < SILENCE


def gain_to(waveform: np.ndarray, sample_rate: int, target: float, ceiling: float = 0.9) -> float:
    """The gain that brings ``waveform`` to ``target`` LUFS, limited so that its peak is at most ``ceiling``.

    Args:
        waveform: ``(C, T)``, not silent.
        sample_rate: samples a second.
        target: in LUFS, such as -23 for broadcast and -14 for streaming.
        ceiling: largest magnitude of the result.
    """
    measured, limit = loudness(waveform, sample_rate), ceiling / peak(waveform)
    return min(limit, 10 ** ((target - measured) / 20)) if math.isfinite(measured) else limit


def loudness(waveform: np.ndarray, sample_rate: int) -> float:
    """Integrated loudness of ``waveform``, ``(C, T)``, in LUFS: K-weighted, gated; -inf if all is below the gate.

    A sound shorter than one block of 0.4 s is padded with silence.
    """
    energy = _block_energy(waveform, sample_rate)
    level = _lufs(energy)
    loud = level > _ABSOLUTE_GATE
    if not loud.any():
        return -math.inf
    loud &= level > _lufs(energy[loud].mean()) + _RELATIVE_GATE
    return float(_lufs(energy[loud].mean()))


def _lufs(energy: np.ndarray) -> np.ndarray:
    return -0.691 + 10 * np.log10(np.maximum(energy, 1e-30))


def _block_energy(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """Mean square of the K-weighted blocks, summed over channels."""
    from scipy.signal import sosfilt  # noqa: PLC0415  it takes a second to import, and few commands measure loudness

    hop, filters = max(1, round(HOP * sample_rate)), k_weighting(sample_rate)
    state = np.zeros((len(filters), len(waveform), 2))
    hops: list[np.ndarray] = []
    size = max(1, BLOCK // hop) * hop
    for start in range(0, waveform.shape[1], size):
        weighted, state = sosfilt(filters, waveform[:, start : start + size], zi=state)
        whole = weighted[:, : weighted.shape[1] // hop * hop]
        hops.append(np.square(whole).reshape(len(whole), -1, hop).mean(axis=2).sum(axis=0))
    rest = np.square(weighted[:, whole.shape[1] :]).sum() / hop
    energy = np.concatenate(hops)
    if len(energy) < OVERLAP:
        energy = np.pad(np.append(energy, rest), (0, OVERLAP))[:OVERLAP]
    return np.convolve(energy, np.full(OVERLAP, 1 / OVERLAP), "valid")


def k_weighting(sample_rate: int) -> np.ndarray:
    """The filter of the standard, whose coefficients are given for 48 kHz, at another rate: sections ``(2, 6)``.

    The analogue prototypes are those of libebur128, https://github.com/jiixyj/libebur128.
    """
    k = math.tan(math.pi * 1681.974450955533 / sample_rate)
    q, high = 0.7071752369554196, 10 ** (3.999843853973347 / 20)
    middle = high**0.4996667741545416
    shelf = [high + middle * k / q + k * k, 2 * (k * k - high), high - middle * k / q + k * k]
    shelf += [1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k]
    k = math.tan(math.pi * 38.13547087602444 / sample_rate)
    q = 0.5003270373238773
    denominator = [1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k]
    high_pass = [denominator[0], -2 * denominator[0], denominator[0], *denominator]  # its numerator is 1, -2, 1
    return np.array([[value / row[3] for value in row] for row in (shelf, high_pass)])
