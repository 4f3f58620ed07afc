"""How often the drums that a model of text generates are what their prompts say: instrument, decay, tone, pitch.

Each word of a prompt is measured on the waveform; the agreement of real drums, the ceiling, is printed beside.

    python benchmarks/drums_prompts.py RUN --prompts 400 --guidance 1 2
"""

from collections.abc import Callable, Mapping

import numpy as np
from librosa.feature import melspectrogram
from prompt_judge import Case, Subject, main
from scipy.signal import butter, find_peaks, sosfiltfilt

from modalities.audio.clip import AudioClip
from modalities.audio.drums import DRUMS, SAMPLE_RATE, hit

Wave = np.ndarray
"""``(T,)`` at `SAMPLE_RATE`."""

HIGHEST = 7900
"""Of the frequencies that are measured, in Hz."""

FLOOR = 1e-12


def real(count: int, seed: int) -> tuple[list[AudioClip], list[Case]]:
    """Hits with one of their captions each."""
    clips, cases = [], []
    names = tuple(DRUMS)
    for i in range(count):
        random = np.random.default_rng([seed, i])
        made = hit(names[i % len(names)], random)
        ranges = DRUMS[made.drum].ranges
        words = {name: ranges[name].word(value) for name, value in made.parameters.items()}
        clips.append(AudioClip(made.waveform[None], SAMPLE_RATE))
        said = {name: word for name, word in words.items() if word}
        cases.append(Case(str(random.choice(made.captions)), made.drum, said))
    return clips, cases


def features(clip: AudioClip) -> np.ndarray:
    """Levels in dB below the loudest, of 32 bands at 16 times."""
    wave = mono(clip)
    energies = melspectrogram(y=wave, sr=SAMPLE_RATE, n_fft=1024, hop_length=256, n_mels=32)
    edges = np.unique(np.geomspace(1, energies.shape[1], 17).round().astype(int))
    levels = _decibels(np.add.reduceat(energies, edges[:-1] - 1, axis=1))
    return np.maximum(levels - levels.max(), -80).ravel()


def measures(kind: str, clip: AudioClip) -> Mapping[str, float]:
    """Of an instrument: times in seconds, frequencies in Hz, levels in dB."""
    wave = mono(clip)
    return {name: measure(wave) for name, measure in MEASURES[kind].items()}


def mono(clip: AudioClip) -> Wave:
    """The waveform with a peak of 1."""
    assert clip.sample_rate == SAMPLE_RATE
    wave = clip.waveform.mean(axis=0).astype(float)
    return wave / max(float(np.abs(wave).max()), FLOOR)


def decay(wave: Wave, low: float, high: float) -> float:
    """Seconds to fall by 60 dB in a band, from the energy that is left (Schroeder, 1965) between -5 and -25 dB."""
    left = np.cumsum(band(wave, low, high)[::-1] ** 2)[::-1]
    levels = _decibels(left / max(left[0], FLOOR))
    start, stop = np.searchsorted(-levels, [5, 25])
    time = np.arange(start, max(stop, start + 8)) / SAMPLE_RATE
    slope = np.polyfit(time, levels[start : start + len(time)], 1)[0] if start + len(time) <= len(levels) else 0.0
    return float(-60 / min(slope, -1.0))


def centroid(wave: Wave, low: float = 20) -> float:
    """The mean frequency above ``low``, weighted by power."""
    frequencies, powers = spectrum(wave, low, HIGHEST)
    return float(np.average(frequencies, weights=powers + FLOOR))


def pitch(wave: Wave, low: float, high: float, start: float = 0.0, within: float = 10) -> float:
    """The lowest partial between ``low`` and ``high`` that is at most ``within`` dB below the strongest."""
    frequencies, powers = spectrum(wave, low, high, start)
    levels = _decibels(powers)
    peaks, _ = find_peaks(levels)
    strong = [peak for peak in peaks if levels[peak] >= levels[peaks].max() - within]
    return float(frequencies[strong[0] if strong else levels.argmax()])


def share(wave: Wave, low: float, high: float, stop: float) -> float:
    """The energy of a band, in dB of the whole, until ``stop`` seconds."""
    part, whole = (spectrum(wave, *edges, 0.0, stop)[1].sum() for edges in ((low, high), (20, HIGHEST)))
    return float(_decibels(part / max(whole, FLOOR)))


def spacing(wave: Wave) -> float:
    """Seconds between bursts, from 5 to 20 ms: the highest autocorrelation of the envelope of the first 50 ms."""
    smooth = butter(2, 400, "lowpass", fs=SAMPLE_RATE, output="sos")
    envelope = sosfiltfilt(smooth, np.abs(wave))[: SAMPLE_RATE // 20]
    envelope = envelope - envelope.mean()
    similar = np.correlate(envelope, envelope, "full")[len(envelope) - 1 :]
    first, last = SAMPLE_RATE // 200, SAMPLE_RATE // 50
    return (first + int(similar[first:last].argmax())) / SAMPLE_RATE


def band(wave: Wave, low: float, high: float) -> Wave:
    """A band, without delay."""
    return sosfiltfilt(butter(4, [low, high], "bandpass", fs=SAMPLE_RATE, output="sos"), wave)


def spectrum(wave: Wave, low: float, high: float, start: float = 0.0, stop: float = 1.0) -> tuple[Wave, Wave]:
    """Frequencies from ``low`` to ``high`` and their powers, between two times in seconds."""
    part = wave[round(start * SAMPLE_RATE) : round(stop * SAMPLE_RATE)]
    frequencies = np.fft.rfftfreq(2**16, 1 / SAMPLE_RATE)
    inside = (frequencies >= low) & (frequencies < high)
    return frequencies[inside], np.abs(np.fft.rfft(part, 2**16))[inside] ** 2


def _decibels(powers: np.ndarray) -> np.ndarray:
    return 10 * np.log10(powers + FLOOR)


MEASURES: Mapping[str, Mapping[str, Callable[[Wave], float]]] = {
    "kick": {
        "decay": lambda wave: decay(wave, 20, 400),
        "click": lambda wave: share(wave, 1500, 5000, 0.01),
        "pitch": lambda wave: pitch(wave, 30, 120, 0.1, within=3),
    },
    "snare": {
        "decay": lambda wave: decay(wave, 1000, HIGHEST),
        "brightness": lambda wave: centroid(wave, 700),
        "pitch": lambda wave: pitch(wave, 120, 400),
    },
    "closed_hat": {"decay": lambda wave: decay(wave, 2500, HIGHEST), "brightness": centroid},
    "open_hat": {"decay": lambda wave: decay(wave, 2500, HIGHEST), "brightness": centroid},
    "clap": {"decay": lambda wave: decay(wave, 200, HIGHEST), "brightness": centroid, "spread": spacing},
    "tom": {
        "decay": lambda wave: decay(wave, 60, 500),
        "pitch": lambda wave: pitch(wave, 60, 500, 0.05),
        "breath": lambda wave: share(wave, 700, 3000, 0.1),
    },
    "cowbell": {
        "decay": lambda wave: decay(wave, 200, HIGHEST),
        "brightness": lambda wave: centroid(wave, 1500),
        "pitch": lambda wave: pitch(wave, 400, 1200),
    },
    "rim": {
        "decay": lambda wave: decay(wave, 1000, HIGHEST),
        "pitch": lambda wave: pitch(wave, 250, 900),
        "tick": lambda wave: share(wave, 2500, HIGHEST, 0.05),
    },
}
"""Of each instrument; the names are those of the parameters that captions grade."""

if __name__ == "__main__":
    main(__doc__, Subject(real, features, measures))
