import math

import numpy as np
import pytest

from modalities.audio import loudness as module
from modalities.audio.loudness import k_weighting, loudness


def sine(rate, seconds=2.0, amplitude=1.0):
    return amplitude * np.sin(2 * np.pi * 997 * np.arange(round(seconds * rate)) / rate)[None].astype(np.float32)


def test_the_filters_at_48_khz_are_those_of_the_standard():
    """ITU-R BS.1770-4, tables 1 and 2; libebur128 keeps the numerator of the second filter unscaled, as they do."""
    shelf, high_pass = k_weighting(48000)
    assert shelf == pytest.approx(
        [1.53512485958697, -2.69169618940638, 1.19839281085285, 1, -1.69065929318241, 0.73248077421585], abs=1e-9
    )
    assert high_pass == pytest.approx([1, -2, 1, 1, -1.99004745483398, 0.99007225036621], abs=1e-9)


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
def test_a_full_scale_sine_near_1_khz_is_at_minus_3_lufs(rate):
    """The standard: -3.01; other rates warp the filters, which were made for 48 kHz."""
    level = loudness(sine(rate), rate)
    assert level == pytest.approx(-3.01, abs=0.01 if rate == 48000 else 0.3)
    assert loudness(np.repeat(sine(rate), 2, axis=0), rate) == pytest.approx(level + 3.01, abs=0.01)
    assert loudness(sine(rate, amplitude=0.1), rate) == pytest.approx(level - 20, abs=0.01)


def test_quiet_passages_do_not_count():
    sound = sine(48000, 4)
    with_pause = np.concatenate([sound, 1e-3 * sound], axis=1)  # 60 dB lower: below the relative gate
    assert loudness(with_pause, 48000) == pytest.approx(loudness(sound, 48000), abs=0.3)
    assert loudness(1e-5 * sound, 48000) == -math.inf


def test_blocks_change_nothing(monkeypatch):
    sound = np.random.default_rng(0).standard_normal((2, 48000)).astype(np.float32)
    whole = loudness(sound, 16000)
    monkeypatch.setattr(module, "BLOCK", 5000)
    assert loudness(sound, 16000) == pytest.approx(whole, abs=1e-9)
