"""Sounds block by block: what is mixed down or resampled takes the memory of a block beside that of its result."""

import math
from collections.abc import Iterable, Iterator
from functools import cache

import numpy as np
import soxr
import torch
from torchaudio.transforms import Resample

from multidiff.errors import InputError

LARGEST = 2**30
"""Samples of all channels of a sound, at most: 4 GB in memory."""

BLOCK = 2**22
"""Samples of a channel that are processed at a time."""

_LARGEST_TERM = 2000
"""Largest term of a reduced ratio of rates that torchaudio's resampler is used for."""


def gathered(blocks: Iterable[np.ndarray], most: int) -> np.ndarray:
    """One waveform ``(C, T)``, float32 and read-only, of its blocks.

    Raises:
        InputError: there are more than ``most`` samples in all channels.
    """
    samples = np.empty((0, 1), np.float32)
    for block in blocks:
        end, (channels, count) = len(samples), block.shape
        if (end + count) * channels > most:
            raise InputError(f"more than {most} samples; split it into shorter files")
        samples.resize((end + count, channels), refcheck=False)
        samples[end:] = block.T
    samples.setflags(write=False)
    return samples.T


def mixed(waveform: np.ndarray, channels: int) -> np.ndarray:
    """``waveform``, ``(C, T)``, with ``channels`` channels: their mean for mono; a mono sound is repeated.

    Raises:
        InputError: there is no standard conversion, as from 6 channels to 2.
    """
    if channels == len(waveform):
        return waveform
    if channels == 1:
        return waveform.mean(axis=0, keepdims=True)
    if len(waveform) == 1:
        return np.broadcast_to(waveform, (channels, waveform.shape[1]))
    raise InputError(f"{len(waveform)} channels cannot be converted to {channels}: mix them down to 1 or 2 first")


def resampled(waveform: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """``waveform``, ``(C, T)``, at another rate: ``(C, ceil(T new / old))``; see `resampled_blocks`.

    Raises:
        InputError: these are more than `LARGEST` samples.
    """
    if rate == new_rate:
        return waveform
    length, place = -(-waveform.shape[-1] * new_rate // rate), 0
    if length * len(waveform) > LARGEST:
        raise InputError(f"{waveform.shape[-1]} samples at {rate} Hz become {length} at {new_rate} Hz: too many")
    found = np.empty((len(waveform), length), np.float32)
    for block in resampled_blocks([waveform], rate, new_rate):
        found[:, place : place + block.shape[1]] = block
        place += block.shape[1]
    return found


def resampled_blocks(blocks: Iterable[np.ndarray], rate: int, new_rate: int) -> Iterator[np.ndarray]:
    """The blocks of a sound ``(C, T)`` at another rate, of ``ceil(T new / old)`` samples in all.

    By torchaudio's windowed sinc; where the rates have a small common divisor, its kernel would be large, and soxr's
    variable-rate filter takes its place.
    """
    if rate == new_rate:
        yield from blocks
    elif max(rate, new_rate) // math.gcd(rate, new_rate) <= _LARGEST_TERM:
        yield from _by_sinc(blocks, rate, new_rate)
    else:
        yield from _by_soxr(blocks, rate, new_rate)


def _by_sinc(blocks: Iterable[np.ndarray], rate: int, new_rate: int) -> Iterator[np.ndarray]:
    """Torchaudio's resampler takes several times the memory of what it is given, so that is a block and its margins."""
    resampler, divisor = _resampler(rate, new_rate), math.gcd(rate, new_rate)
    old, new = rate // divisor, new_rate // divisor
    margin, size = -(-resampler.width // old), max(1, BLOCK // max(old, new))  # in periods of both rates
    start = first = 0  # of the next block, and of what is held
    held = None
    for block, last in _and_whether_last(blocks):
        held = block if held is None else np.concatenate([held, block], axis=1)
        while held.shape[1] >= (start + size + margin - first) * old or (
            last and held.shape[1] > (start - first) * old
        ):
            piece = resampler(torch.tensor(held[:, : (start + size + margin - first) * old])).numpy()
            yield piece[:, (start - first) * new :][:, : size * new]
            start += size
            done = max(0, start - margin) - first
            held, first = held[:, done * old :], first + done


def _by_soxr(blocks: Iterable[np.ndarray], rate: int, new_rate: int) -> Iterator[np.ndarray]:
    stream, size = None, max(1, min(BLOCK, BLOCK * rate // new_rate))
    given = made = 0
    for block, last in _and_whether_last(blocks):
        stream = stream or soxr.ResampleStream(rate, new_rate, len(block), "float32", "VHQ")
        for start in range(0, block.shape[1], size):
            piece = np.ascontiguousarray(block[:, start : start + size].T)
            ends = last and start + size >= block.shape[1]
            found = stream.resample_chunk(piece, ends).reshape(-1, len(block)).T
            given += len(piece)
            missing = -(-given * new_rate // rate) - made
            found = np.pad(found, ((0, 0), (0, max(0, missing - found.shape[1]) if ends else 0)))[:, :missing]
            made += found.shape[1]
            yield found


def _and_whether_last(blocks: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, bool]]:
    before = None
    for block in blocks:
        if before is not None:
            yield before, False
        before = block
    if before is not None:
        yield before, True


@cache
def _resampler(rate: int, new_rate: int) -> Resample:
    return Resample(rate, new_rate, lowpass_filter_width=32)


def peak(waveform: np.ndarray) -> float:
    """The largest magnitude in ``waveform``.

    Raises:
        InputError: a sample is not finite.
    """
    highest = float(max(waveform.max(), -waveform.min()))
    if not math.isfinite(highest):
        raise InputError("there are non-finite samples (NaN or infinity)")
    return highest
