import numpy as np
import pytest

from modalities.audio.clip import AudioClip
from modalities.audio.features import ClipClassifier, trained_classifier

RATE = 8000


def tones(count, seed, low, high):
    """Clips of one tone each at random levels."""
    random = np.random.default_rng(seed)
    waves = [np.sin(2 * np.pi * random.uniform(low, high) * np.arange(2000) / RATE) for _ in range(count)]
    return [AudioClip(random.uniform(0.1, 0.9) * wave[None], RATE) for wave in waves]


def labelled(seed):
    return tones(20, seed, 200, 400) + tones(20, seed + 1, 1500, 3000), ["low"] * 20 + ["high"] * 20


@pytest.fixture(scope="module")
def classifier():
    return trained_classifier(*labelled(seed=0), steps=40)


def test_it_learns_what_tells_the_classes_apart(classifier):
    assert classifier.accuracy(*labelled(seed=10)) > 0.95


def test_features_and_logits_are_those_of_each_clip(classifier):
    clips, _ = labelled(seed=20)
    features, logits = classifier.features(clips), classifier.logits(clips)
    assert features.shape == (40, 128)
    assert logits.shape == (40, 2)
    assert np.allclose(classifier.features(clips[5:6]), features[5:6], atol=1e-5)
    assert np.allclose(
        classifier.out(classifier.embed(classifier.waveforms(clips[:3]))).detach(), logits[:3], atol=1e-5
    )


def test_the_same_clips_and_seed_give_the_same_network(classifier):
    clips, labels = labelled(seed=0)
    again = trained_classifier(clips, labels, steps=40)
    assert np.array_equal(again.logits(clips), classifier.logits(clips))
    other = trained_classifier(clips, labels, steps=40, seed=1)
    assert not np.allclose(other.logits(clips), classifier.logits(clips))


def test_any_rate_length_and_number_of_channels_can_be_heard():
    network = ClipClassifier(["a", "b", "c"], RATE, seconds=0.25)
    clips = [
        AudioClip(np.ones((channels, length)), rate) for channels, length, rate in ((1, 9, RATE), (2, 9000, 44100))
    ]
    assert network.features(clips).shape == (2, 128)
    assert network.logits(clips).shape == (2, 3)
