"""A drum machine: eight instruments, synthesised from random parameters.

The synthesis is that of the drum machines of the 1980s: a sine with falling pitch for skins, square waves at inharmonic
frequencies for metal, filtered noise for rattles.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.signal import butter, sosfilt

SAMPLE_RATE = 16000
PEAK = 0.8
"""Peak of every hit; between the samples, noise exceeds it a little."""

FADE = 0.02
"""Seconds of the fade-out at the end."""

_METAL = (205.3, 304.4, 369.6, 522.7, 540.0, 800.0)
"""Frequencies of the six oscillators of the TR-808's cymbals and hats, in Hz."""

_TABLE = 4096
"""Points in the wavetable of one period of a square wave."""

Parameters = Mapping[str, float]
Wave = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Range:
    """The log-uniform distribution of a parameter, and the words for its lowest and highest third."""

    low: float
    high: float
    words: tuple[str, str] | None = None

    def draw(self, random: np.random.Generator) -> float:
        """A random value."""
        return float(np.exp(random.uniform(math.log(self.low), math.log(self.high))))

    def word(self, value: float) -> str | None:
        """The word for ``value`` in a caption; None in the middle third."""
        place = math.log(value / self.low) / math.log(self.high / self.low)
        if self.words is None or 1 / 3 <= place <= 2 / 3:
            return None
        return self.words[place > 0.5]


@dataclass(frozen=True)
class Drum:
    """An instrument.

    Attributes:
        ranges: of its parameters. Times are in seconds, pitches and cutoffs in Hz.
        sound: from times ``(T,)`` in seconds, parameters and a generator to a waveform ``(T,)`` of any amplitude.
    """

    ranges: Mapping[str, Range]
    sound: Callable[[Wave, Parameters, np.random.Generator], Wave]


@dataclass(frozen=True)
class Hit:
    """One hit.

    Attributes:
        drum: a key of `DRUMS`.
        parameters: of the synthesis.
        waveform: ``(T,)`` in float32 at `SAMPLE_RATE`.
    """

    drum: str
    parameters: Parameters
    waveform: Wave

    @property
    def caption(self) -> str:
        """The name of the drum after the words for its parameters: "short bright snare"."""
        ranges = DRUMS[self.drum].ranges
        words = [ranges[name].word(value) for name, value in self.parameters.items()]
        return " ".join([*(word for word in words if word), self.drum.replace("_", " ")])

    @property
    def captions(self) -> tuple[str, ...]:
        """`caption`, and other ways to say it: "a quick crisp snare", "a snare with a short decay"."""
        name, ranges = self.drum.replace("_", " "), DRUMS[self.drum].ranges
        said = [(key, word) for key, value in self.parameters.items() if (word := ranges[key].word(value))]
        others = " ".join([*(_SYNONYMS.get(word, word) for _, word in said), name])
        parts = _listed([f"a {word} {_NOUNS[key]}" for key, word in said])
        phrases = [_a(self.caption), *([_a(others), _a(f"{name} with {parts}")] if said else [])]
        return tuple(dict.fromkeys((self.caption, *phrases)))


def _a(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _listed(parts: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join(part for part in (", ".join(parts[:-1]), *parts[-1:]) if part)


def hit(drum: str, random: np.random.Generator, seconds: float = 1.0) -> Hit:
    """A hit of ``drum`` with parameters and noise from ``random``."""
    recipe = DRUMS[drum]
    parameters = {name: span.draw(random) for name, span in recipe.ranges.items()}
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    wave = recipe.sound(time, parameters, random) * np.clip((seconds - time) / FADE, 0, 1)
    return Hit(drum, parameters, (PEAK / np.abs(wave).max() * wave).astype(np.float32))


def kick(time: Wave, p: Parameters, random: np.random.Generator) -> Wave:
    """A sine that falls to ``pitch``, a click of noise, and saturation."""
    body = sweep(time, p["pitch"] * p["fall"], p["pitch"], p["glide"]) * decay(time, p["decay"])
    click = band(noise(time, random), 500, 5000) * decay(time, 0.01)
    return np.tanh(p["drive"] * (body + p["click"] * click))


def snare(time: Wave, p: Parameters, random: np.random.Generator) -> Wave:
    """Two modes of the skin, and the rattle of the wires."""
    skin = sweep(time, 1.6 * p["pitch"], p["pitch"], 0.01) + 0.5 * sweep(time, 2.2 * p["pitch"], 1.6 * p["pitch"], 0.01)
    wires = band(noise(time, random), 0.25 * p["brightness"], p["brightness"])
    return 0.6 * skin * decay(time, 0.15) + p["wires"] * wires * decay(time, p["decay"])


def hat(time: Wave, p: Parameters, random: np.random.Generator) -> Wave:
    """Six square waves and noise, high-passed."""
    metal = sum(square(time, p["tune"] * hertz) for hertz in _METAL)
    return band(metal + p["noise"] * noise(time, random), p["brightness"], 7800) * decay(time, p["decay"])


def clap(time: Wave, p: Parameters, random: np.random.Generator) -> Wave:
    """Three bursts of noise in succession, then reverberation."""
    hands = sum(decay(time - k * p["spread"], 0.03) for k in range(3))
    room = decay(time - 3 * p["spread"], p["decay"])
    return band(noise(time, random), 0.6 * p["brightness"], 1.8 * p["brightness"]) * (hands + room)


def tom(time: Wave, p: Parameters, random: np.random.Generator) -> Wave:
    """A sine that falls slightly, with a little noise."""
    skin = sweep(time, p["pitch"] * p["fall"], p["pitch"], 0.05) * decay(time, p["decay"])
    return skin + p["breath"] * band(noise(time, random), p["pitch"], 2000) * decay(time, 0.1)


def cowbell(time: Wave, p: Parameters, random: np.random.Generator) -> Wave:
    """Two square waves more than a fifth apart, with a sharp attack and a long decay."""
    bell = square(time, p["pitch"]) + square(time, 1.48 * p["pitch"])
    return band(bell, 0.8 * p["pitch"], p["brightness"]) * (decay(time, 0.06) + 0.5 * decay(time, p["decay"]))


def rim(time: Wave, p: Parameters, random: np.random.Generator) -> Wave:
    """Two short tones and a click of noise."""
    tick = band(noise(time, random), p["pitch"], 7500) * decay(time, 0.01)
    tones = np.sin(2 * np.pi * p["pitch"] * time) + np.sin(2 * np.pi * 3.4 * p["pitch"] * time)
    return (tones + p["tick"] * tick) * decay(time, p["decay"])


def sweep(time: Wave, start: float, end: float, glide: float) -> Wave:
    """A sine whose frequency falls exponentially from ``start`` to ``end`` with the time constant ``glide``."""
    return np.sin(2 * np.pi * (end * time + (start - end) * glide * (1 - np.exp(-time / glide))))


def decay(time: Wave, seconds: float) -> Wave:
    """1 at time 0, 60 dB lower after ``seconds``; 0 before."""
    return np.where(time >= 0, np.exp(-math.log(1000) / seconds * np.maximum(time, 0)), 0)


def square(time: Wave, hertz: float) -> Wave:
    """A band-limited square wave: its harmonics below half the sample rate."""
    harmonics = np.zeros(_TABLE // 2 + 1, dtype=complex)
    odd = np.arange(1, SAMPLE_RATE / 2 / hertz, 2)
    harmonics[odd.astype(int)] = -0.5j * _TABLE / odd
    return np.interp(hertz * time, np.arange(_TABLE) / _TABLE, np.fft.irfft(harmonics), period=1)


def noise(time: Wave, random: np.random.Generator) -> Wave:
    """White noise."""
    return random.standard_normal(len(time))


def band(wave: Wave, low: float, high: float) -> Wave:
    """A Butterworth band-pass of 12 dB an octave."""
    return sosfilt(butter(2, [low, min(high, 7900)], "bandpass", fs=SAMPLE_RATE, output="sos"), wave)


_NOUNS = {
    "decay": "decay",
    "brightness": "tone",
    "pitch": "pitch",
    "click": "attack",
    "tick": "attack",
    "spread": "spacing",
    "breath": "skin",
}
_SYNONYMS = {
    "short": "quick",
    "long": "sustained",
    "dark": "dull",
    "bright": "crisp",
    "low": "deep",
    "high": "high-pitched",
    "soft": "gentle",
    "hard": "punchy",
}

_LENGTH, _TONE, _PITCH = ("short", "long"), ("dark", "bright"), ("low", "high")

DRUMS: Mapping[str, Drum] = {
    "kick": Drum(
        {
            "decay": Range(0.15, 0.9, _LENGTH),
            "click": Range(0.05, 1.0, ("soft", "hard")),
            "pitch": Range(38, 70, _PITCH),
            "fall": Range(3, 8),
            "glide": Range(0.01, 0.04),
            "drive": Range(0.8, 3),
        },
        kick,
    ),
    "snare": Drum(
        {
            "decay": Range(0.1, 0.6, _LENGTH),
            "brightness": Range(2500, 7500, _TONE),
            "pitch": Range(150, 280, _PITCH),
            "wires": Range(0.5, 2),
        },
        snare,
    ),
    "closed_hat": Drum(
        {
            "decay": Range(0.03, 0.15, _LENGTH),
            "brightness": Range(2500, 5500, _TONE),
            "tune": Range(0.8, 1.25),
            "noise": Range(0.1, 3),
        },
        hat,
    ),
    "open_hat": Drum(
        {
            "decay": Range(0.4, 1.5, _LENGTH),
            "brightness": Range(2500, 5500, _TONE),
            "tune": Range(0.8, 1.25),
            "noise": Range(0.1, 3),
        },
        hat,
    ),
    "clap": Drum(
        {
            "decay": Range(0.1, 0.6, _LENGTH),
            "brightness": Range(900, 2000, _TONE),
            "spread": Range(0.007, 0.015, ("tight", "loose")),
        },
        clap,
    ),
    "tom": Drum(
        {
            "decay": Range(0.25, 1.0, _LENGTH),
            "pitch": Range(90, 240, _PITCH),
            "fall": Range(1.2, 1.8),
            "breath": Range(0.05, 0.4, ("clean", "breathy")),
        },
        tom,
    ),
    "cowbell": Drum(
        {
            "decay": Range(0.2, 0.9, _LENGTH),
            "brightness": Range(2000, 6000, _TONE),
            "pitch": Range(480, 680, _PITCH),
        },
        cowbell,
    ),
    "rim": Drum(
        {
            "decay": Range(0.03, 0.08, _LENGTH),
            "pitch": Range(350, 600, _PITCH),
            "tick": Range(0.3, 3, ("soft", "hard")),
        },
        rim,
    ),
}
