import numpy as np
import pytest

from modalities.audio.drums import DRUMS, PEAK, SAMPLE_RATE, Hit, Range, decay, hit, square, sweep

HITS = {name: [hit(name, np.random.default_rng([0, i])) for i in range(12)] for name in DRUMS}
TIME = np.arange(SAMPLE_RATE) / SAMPLE_RATE


def centroid(wave):
    """The mean frequency of the power spectrum, in Hz."""
    power = np.abs(np.fft.rfft(wave)) ** 2
    return (power * np.fft.rfftfreq(len(wave), 1 / SAMPLE_RATE)).sum() / power.sum()


def effective_length(wave):
    """Seconds after which 1% of the energy is left."""
    left = np.cumsum(wave[::-1] ** 2)[::-1]
    return np.argmax(left < 0.01 * left[0]) / SAMPLE_RATE


@pytest.mark.parametrize("name", DRUMS)
def test_parameters_are_drawn_from_their_ranges_and_differ(name):
    ranges = DRUMS[name].ranges
    for made in HITS[name]:
        assert made.parameters.keys() == ranges.keys()
        assert all(ranges[key].low <= value <= ranges[key].high for key, value in made.parameters.items())
    assert len({tuple(made.parameters.values()) for made in HITS[name]}) == len(HITS[name])


@pytest.mark.parametrize("name", DRUMS)
def test_a_hit_has_an_attack_the_stated_peak_and_a_fade(name):
    for made in HITS[name]:
        wave = made.waveform
        assert wave.dtype == np.float32
        assert wave.shape == (SAMPLE_RATE,)
        assert np.abs(wave).max() == pytest.approx(PEAK)
        assert np.abs(wave[:800]).max() > 0.5 * PEAK
        assert np.abs(wave[-5:]).max() < 1e-3


@pytest.mark.parametrize("name", DRUMS)
def test_a_hit_depends_on_its_seed_alone(name):
    again = hit(name, np.random.default_rng([0, 3]))
    assert np.array_equal(again.waveform, HITS[name][3].waveform)
    assert again.caption == HITS[name][3].caption


@pytest.mark.parametrize("name", DRUMS)
def test_captions_are_true_of_the_parameters(name):
    ranges = DRUMS[name].ranges
    for made in HITS[name]:
        said = made.caption.removesuffix(name.replace("_", " ")).split()
        for key, span in ranges.items():
            for word, extreme in zip(span.words or (), (span.low, span.high), strict=False):
                third = (span.high / span.low) ** (1 / 3)
                near = max(made.parameters[key] / extreme, extreme / made.parameters[key]) < third
                assert (word in said) == near


def test_a_hit_has_several_captions():
    low_and_long = {"decay": 0.8, "click": 0.2, "pitch": 39, "fall": 5, "glide": 0.02, "drive": 1}
    assert Hit("kick", low_and_long, TIME).captions == (
        "long low kick",
        "a long low kick",
        "a sustained deep kick",
        "a kick with a long decay and a low pitch",
    )
    assert Hit("open_hat", {"decay": 0.8}, TIME).captions == ("open hat", "an open hat")


@pytest.mark.parametrize("name", DRUMS)
def test_captions_are_true_of_the_sound(name):
    """Long hits last longer, and bright or high ones have a higher centroid, all else being equal."""
    drum = DRUMS[name]
    middle = {key: (span.low * span.high) ** 0.5 for key, span in drum.ranges.items()}

    def sound(key, value):
        return drum.sound(TIME, middle | {key: value}, np.random.default_rng(0))

    for key, measure in (("decay", effective_length), ("brightness", centroid), ("pitch", centroid)):
        if key in drum.ranges:
            low, high = (measure(sound(key, value)) for value in (drum.ranges[key].low, drum.ranges[key].high))
            assert high > 1.02 * low


def test_the_middle_third_has_no_word():
    span = Range(1, 8, ("small", "large"))
    assert [span.word(value) for value in (1, 1.9, 2.1, 3.9, 4.1, 8)] == [
        "small",
        "small",
        None,
        None,
        "large",
        "large",
    ]
    assert Range(1, 8).word(1) is None


def test_decay_is_60_decibels_over_its_time():
    wave = decay(TIME - 0.1, 0.5)
    assert not wave[:1600].any()
    assert (wave[1600], wave[1600 + 8000]) == (1, pytest.approx(1e-3))


def test_a_sweep_falls_from_start_to_end():
    phase = np.unwrap(np.angle(np.exp(1j * np.arcsin(sweep(TIME[:50], 200, 50, 0.05)))))
    assert phase[1] / (2 * np.pi) * SAMPLE_RATE == pytest.approx(200, rel=0.01)
    late = sweep(TIME, 200, 50, 0.05)[8000:]
    assert np.count_nonzero(np.diff(np.sign(late)) > 0) == pytest.approx(25, abs=1)


def test_squares_are_square_and_free_of_aliases():
    hertz = 125  # 64 periods in 8192 samples
    wave = square(np.arange(8192) / SAMPLE_RATE, hertz)
    spectrum = np.abs(np.fft.rfft(wave)) / 4096
    harmonics = np.flatnonzero(spectrum > 1e-3) / 64
    assert all(harmonics % 2 == 1)
    assert spectrum[64] == pytest.approx(1, abs=0.01)
    assert spectrum[3 * 64] == pytest.approx(1 / 3, abs=0.01)
