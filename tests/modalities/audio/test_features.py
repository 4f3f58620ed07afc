"""The default features learn classes or clusters, whatever the gain; fingerprints find copies."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from modalities.audio.clip import AudioClip
from modalities.audio.features import Encoder
from modalities.audio.mel import BANDS, FRAMES, MelSpectrograms, decibels
from modalities.audio.modality import AudioModality
from modalities.image.modality import ImageModality
from multidiff.data.dataset import Dataset
from multidiff.data.labels import Labels
from multidiff.errors import InputError
from multidiff.evaluation.reference import Reference

RATE, LENGTH = 8000, 2048
CPU = torch.device("cpu")
PITCHES = {"low": (200, 400), "high": (1500, 3000)}


class Tones(Dataset):
    """One tone each, of random amplitude, in two classes of pitch."""

    def __init__(self, modality, count, seed=0, labelled=True):
        random = np.random.default_rng(seed)
        self.modality = modality
        self.shape = (modality.channels, LENGTH * modality.sample_rate // RATE)
        kinds = [i % 2 for i in range(count)]
        if labelled:
            self.fields = {"label": Labels(kinds, tuple(PITCHES))}
        hertz = [random.uniform(*list(PITCHES.values())[kind]) for kind in kinds]
        levels = random.uniform(0.1, 0.9, (count, 1))
        self.waves = levels * np.sin(2 * np.pi * np.outer(hertz, np.arange(LENGTH) / RATE))
        self.content = f"{count} {seed} {labelled}"

    def __len__(self):
        return len(self.waves)

    def data(self, index, random):
        return self.modality.to_data(AudioClip(self.waves[index][None], RATE))


MONO = AudioModality(RATE)


def reference(modality=MONO, count=100, **settings):
    return Reference(modality, Tones(modality, count, **settings), holdout=0.4, seed=0)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def extractor(cache):
    return Encoder(steps=30, cache=cache).extractor(reference(), CPU)


def clips(count=10, **settings):
    data = reference(**settings)
    return [data.artifact(i) for i in range(count)]


class TestEncoder:
    def test_it_learns_what_tells_the_classes_apart(self, extractor):
        assert extractor.facts["accuracy on held-out data"] > 0.95
        assert extractor.class_names == ("low", "high")
        batch = extractor.extract(clips(seed=5))
        assert (batch.classes == torch.arange(10) % 2).float().mean() > 0.8
        assert torch.allclose(batch.probabilities.sum(dim=1), torch.ones(10))

    def test_features_do_not_depend_on_the_batch(self, extractor):
        together, alone = extractor.extract(clips()), extractor.extract(clips()[3:4])
        assert together.features.shape == (10, 128)
        assert torch.allclose(together.features[3:4], alone.features, atol=1e-5)

    def test_training_it_again_gives_the_same_weights(self, tmp_path):
        hashes = {Encoder(3, tmp_path / run).extractor(reference(), CPU).sha256 for run in ("a", "b")}
        assert len(hashes) == 1

    def test_held_out_data_are_never_used(self, tmp_path, monkeypatch):
        asked, original = [], Reference.artifact
        monkeypatch.setattr("multidiff.evaluation.encoder.accuracy", lambda *_: 0.5)
        monkeypatch.setattr(Reference, "artifact", lambda self, i: asked.append(i) or original(self, i))
        for labelled in (True, False):
            data = reference(labelled=labelled)
            Encoder(10, tmp_path).extractor(data, CPU)
            assert len(set(asked)) > len(data.training) / 2
            assert not set(asked) & set(data.held_out)

    @pytest.mark.slow
    def test_without_classes_it_learns_clusters(self, tmp_path):
        """Clusters of tones are bands of pitch, for which neither level nor label matters."""
        extractor = Encoder(60, tmp_path).extractor(reference(labelled=False), CPU)
        assert extractor.class_names == ()
        assert extractor.facts["accuracy on held-out data"] > 0.5  # of 7 clusters
        batch = extractor.extract(clips())
        assert batch.probabilities is None
        assert batch.features.isfinite().all()

    def test_stereo_and_other_rates(self, tmp_path):
        for modality in (AudioModality(RATE, stereo=True), AudioModality(16000)):
            extractor = Encoder(2, tmp_path).extractor(reference(modality), CPU)
            assert str(modality.sample_rate) in extractor.preprocessing
            assert extractor.extract(clips(2, modality=modality)).features.shape == (2, 128)
        assert len(list((tmp_path / "encoders").iterdir())) == 2

    def test_other_artifacts_than_sounds_are_refused(self, tmp_path):
        pictures = replace(reference(), modality=ImageModality(1))
        with pytest.raises(InputError, match="these features are of sounds, and the data are of the modality image"):
            Encoder(2, tmp_path).extractor(pictures, CPU)


class TestMelSpectrograms:
    def test_a_tone_of_full_scale_has_a_power_of_one_at_any_rate(self):
        for rate in (8000, 16000, 44100):
            wave = np.sin(2 * np.pi * 1000 * np.arange(rate) / rate)[None]
            power = MelSpectrograms(rate, 1, rate).power([AudioClip(wave, rate)])
            assert 0.5 < power.amax() < 1.5
            assert decibels(power).amin() >= -80.001

    def test_silence_follows_a_shorter_clip_and_a_longer_one_is_cut(self):
        mel = MelSpectrograms(RATE, 1, 1000)
        assert mel.waveforms([AudioClip(np.ones((2, 300)), RATE), AudioClip(np.ones((1, 3000)), RATE)]).sum(
            dim=2
        ).flatten().tolist() == [300, 1000]

    @pytest.mark.parametrize("seconds", [0.01, 1, 30])
    def test_clips_of_any_length_take_bounded_work(self, seconds):
        samples = round(seconds * RATE)
        power = MelSpectrograms(RATE, 1, samples).power([AudioClip(np.ones((1, samples)), RATE)])
        assert power.shape[2] == BANDS
        assert 1 <= power.shape[3] <= FRAMES + 1

    def test_the_distance_of_fingerprints_is_the_difference_in_decibels(self):
        """Noise, which has power in all bands, 6 dB apart."""
        wave = 0.3 * np.random.default_rng(0).standard_normal((1, LENGTH))
        mel = MelSpectrograms(RATE, 1, LENGTH)
        a, b = mel.fingerprints(mel.power([AudioClip(wave, RATE), AudioClip(wave / 2, RATE)]))
        assert (a - b).norm().item() == pytest.approx(20 * np.log10(2), abs=0.05)
