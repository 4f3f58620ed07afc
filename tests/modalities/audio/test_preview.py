import librosa
import numpy as np
import pytest

from modalities.audio.clip import AudioClip
from modalities.audio.preview import (
    BELOW,
    GAP,
    LEFT,
    MEL_HEIGHT,
    PAPER,
    WAVE,
    WAVE_HEIGHT,
    WIDTH,
    mel_power,
    sound_sheet,
)

RATE = 16000
CELL = (LEFT + WIDTH + GAP, GAP + WAVE_HEIGHT + MEL_HEIGHT + BELOW)


def tone(hertz, seconds=1.0, amplitude=0.5, rate=RATE):
    return AudioClip(amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)[None], rate)


def spectrogram(sheet):
    left, top = LEFT, GAP + WAVE_HEIGHT
    return np.asarray(sheet.crop((left, top, left + WIDTH, top + MEL_HEIGHT))).astype(int).sum(axis=-1)


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (2, 2, 1), (4, 2, 2), (5, 3, 2)])
def test_the_grid_is_near_square(count, columns, rows):
    sheet = sound_sheet([tone(440)] * count)
    assert sheet.size == (columns * CELL[0] + GAP, rows * CELL[1] + GAP)


def test_higher_tones_lie_higher():
    heights = [spectrogram(sound_sheet([tone(hertz)])).sum(axis=1).argmax() for hertz in (100, 500, 2000, 6000)]
    assert heights == sorted(heights, reverse=True)
    assert len(set(heights)) == len(heights)


def test_the_spectrogram_is_that_of_librosa():
    clip = AudioClip(0.1 * np.random.default_rng(0).standard_normal((1, RATE)), RATE)
    form = {"n_fft": 512, "hop_length": 100, "n_mels": 40, "fmin": 20.0, "htk": True}
    theirs = librosa.feature.melspectrogram(y=clip.waveform[0], sr=RATE, **form)
    np.testing.assert_allclose(mel_power(clip), theirs, rtol=1e-3)


@pytest.mark.parametrize("rate", [8, 40])
@pytest.mark.filterwarnings("ignore:At least one mel filterbank")
def test_recordings_at_the_rates_of_sensors_have_a_picture(rate):
    power = mel_power(tone(rate / 4, seconds=100, rate=rate))
    assert np.isfinite(power).all()
    assert power.max() > 0
    assert sound_sheet([tone(rate / 4, seconds=100, rate=rate)]).size == (CELL[0] + GAP, CELL[1] + GAP)


def test_time_runs_to_the_right():
    late = tone(1000)
    late = AudioClip(late.waveform * (np.arange(RATE) > RATE / 2), RATE)
    columns = spectrogram(sound_sheet([late])).sum(axis=0)
    assert columns[: WIDTH // 2 - 10].max() < columns[WIDTH // 2 + 10 :].min()


def test_clips_share_one_colour_scale():
    assert (
        spectrogram(sound_sheet([tone(440, amplitude=0.01), tone(440)])).max()
        < spectrogram(sound_sheet([tone(440), tone(440)])).max()
    )


def test_the_waveform_is_drawn_at_full_scale():
    pixels = np.asarray(sound_sheet([tone(5, amplitude=1.0)]).crop((LEFT, GAP, LEFT + WIDTH, GAP + WAVE_HEIGHT)))
    rows = np.flatnonzero((pixels == WAVE).all(axis=-1).any(axis=1))
    assert (rows.min(), rows.max()) == (0, WAVE_HEIGHT - 1)


@pytest.mark.parametrize("clip", [tone(440, 0.001), tone(440, 10), tone(440, rate=44100), tone(440, amplitude=0)])
def test_any_clip_can_be_shown(clip):
    assert np.isfinite(mel_power(clip)).all()
    assert np.asarray(sound_sheet([clip])).max() == max(PAPER)


def test_no_clip_makes_no_sheet():
    with pytest.raises(ValueError, match="at least one"):
        sound_sheet([])
