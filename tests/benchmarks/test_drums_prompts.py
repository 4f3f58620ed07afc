import numpy as np
import pytest
from drums_prompts import SAMPLE_RATE, centroid, decay, features, mono, pitch, real, share, spacing

from modalities.audio.clip import AudioClip

TIME = np.arange(SAMPLE_RATE) / SAMPLE_RATE


def sine(hertz):
    return np.sin(2 * np.pi * hertz * TIME)


@pytest.mark.parametrize("seconds", [0.05, 0.2, 0.8])
def test_decay_is_the_time_to_fall_by_60_db(seconds):
    fading = np.exp(-np.log(1000) / seconds * TIME) * sine(3000)
    hum = 0.5 * sine(100)
    assert decay(fading + hum, 1000, 7900) == pytest.approx(seconds, rel=0.05)


def test_a_sound_that_does_not_fade_has_a_long_decay():
    assert decay(sine(3000), 1000, 7900) > 1
    assert np.isfinite(decay(0 * TIME, 1000, 7900))


def test_pitch_is_the_lowest_strong_partial():
    assert pitch(0.05 * sine(100) + 0.5 * sine(200) + sine(320), 50, 500) == pytest.approx(200, abs=1)


def test_the_centroid_is_weighted_by_power():
    assert centroid(sine(2000)) == pytest.approx(2000, rel=0.01)
    assert centroid(sine(100) + sine(2000) + sine(4000), low=500) == pytest.approx(3000, rel=0.01)


def test_a_share_is_in_decibels_of_the_whole():
    assert share(sine(200) + sine(2000), 1000, 3000, 1.0) == pytest.approx(10 * np.log10(0.5), abs=0.1)


@pytest.mark.parametrize("gap", [0.007, 0.011, 0.015])
def test_spacing_is_the_time_between_bursts(gap):
    noise = np.random.default_rng(0).standard_normal(len(TIME))
    bursts = sum(np.where(k * gap <= TIME, np.exp(-np.maximum(TIME - k * gap, 0) / 0.003), 0) for k in range(3))
    assert spacing(noise * bursts) == pytest.approx(gap, abs=0.001)


def test_prompts_name_the_drum_and_their_words():
    clips, cases = real(16, 0)
    for clip, case in zip(clips, cases, strict=True):
        assert case.kind.replace("_", " ") in case.prompt
        named = case.prompt.removeprefix("a ").removeprefix("an ") == case.kind.replace("_", " ")
        assert bool(case.words) != named
        assert np.isfinite(features(clip)).all()


def test_the_measures_do_not_depend_on_the_level():
    clip = AudioClip(sine(440)[None].astype(np.float32), SAMPLE_RATE)
    quiet = AudioClip(0.01 * clip.waveform, SAMPLE_RATE)
    assert np.allclose(mono(clip), mono(quiet), atol=1e-6)
