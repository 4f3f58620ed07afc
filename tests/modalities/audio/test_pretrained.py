"""VGGish and CLAP load from local files, and from nowhere else, and compute what their authors' code computes."""

import numpy as np
import pytest
import torch
from transformers import ClapFeatureExtractor

from modalities.audio import vggish
from modalities.audio.clip import AudioClip
from modalities.audio.pretrained import CLAP, VGGISH, VGGish
from multidiff.errors import InputError
from tests.evaluation.weights import save_clap, save_vggish
from tests.modalities.audio.test_features import clips, reference

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("vggish") / VGGISH
    save_vggish(path)
    return path


class TestVGGish:
    def test_its_features_come_from_the_file(self, weights):
        extractor = VGGish(weights).extractor(reference(), CPU)
        batch = extractor.extract(clips(2))
        assert batch.features.shape == (2, 128)
        assert batch.fingerprints is not None
        assert "16000 Hz" in extractor.preprocessing

    def test_a_constant_spectrogram_goes_through_layers_of_means(self, weights):
        """Away from the edges, where the convolutions see zeros, a mean of a constant is the constant."""
        network = vggish.VGGish().double()  # sums of 4608 terms round by more than the tolerance in single precision
        network.load_state_dict(torch.load(weights, weights_only=True))
        constant = torch.full((1, 1, vggish.FRAMES, vggish.BANDS), 2.0, dtype=torch.float64)
        with torch.no_grad():
            inside, out = network.features(constant), network(constant)
        assert torch.allclose(inside[0, :, 2:4, 2], torch.tensor(2.0, dtype=torch.float64))
        assert torch.allclose(out, inside.mean())

    def test_its_spectrograms_are_the_published_ones(self):
        """Log of the mel magnitudes plus 0.01: constant for silence, with its maximum in the band of a tone."""
        silence = vggish.examples(torch.zeros(100))
        assert silence.shape == (1, 1, 96, 64)
        assert torch.allclose(silence, torch.tensor(0.01).log())
        edges = np.linspace(*(1127 * np.log1p(np.array([125, 7500]) / 700)), 66)
        band = int(np.abs(edges[1:-1] - 1127 * np.log1p(1000 / 700)).argmin())
        tone = torch.sin(2 * np.pi * 1000 * torch.arange(2 * 16000) / 16000)
        assert set(vggish.examples(tone).argmax(dim=3).flatten().tolist()) == {band}

    def test_an_example_is_96_frames_and_the_rest_is_dropped(self):
        for count in (1, 2):
            enough = vggish.WINDOW + (count * 96 - 1) * vggish.HOP
            assert len(vggish.examples(torch.ones(enough))) == count
            assert len(vggish.examples(torch.ones(enough - 1))) == max(1, count - 1)

    def test_missing_and_damaged_files_are_named(self, tmp_path, monkeypatch):
        monkeypatch.setenv("MULTIDIFF_CACHE", str(tmp_path))
        with pytest.raises(InputError, match=rf"not at {tmp_path}/weights/{VGGISH}: put https://.* there, or give"):
            VGGish().extractor(reference(), CPU)
        for content in ({"a": print}, {"features.0.weight": torch.zeros(3)}):
            torch.save(content, tmp_path / "w.pth")
            with pytest.raises(InputError, match=r"w\.pth is damaged or not torchvggish's"):
                VGGish(tmp_path / "w.pth").extractor(reference(), CPU)


@pytest.fixture(scope="module")
def clap(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clap")
    return folder, save_clap(folder)


class TestCLAP:
    def test_its_features_are_those_of_the_whole_model(self, clap):
        folder, network = clap
        extractor = CLAP(folder).extractor(reference(), CPU)
        sounds = clips(2)
        prepare = ClapFeatureExtractor.from_pretrained(folder)
        waves = [clip.resampled(48000).waveform[0] for clip in sounds]
        inputs = prepare(waves, sampling_rate=48000, return_tensors="pt")
        expected = network.get_audio_features(**inputs).pooler_output
        features = extractor.extract(sounds).features
        assert torch.allclose(features, expected, atol=1e-5)
        assert "48000 Hz" in extractor.preprocessing

    def test_all_parts_of_a_long_clip_count_and_repeatably(self, clap):
        folder, _ = clap
        extractor = CLAP(folder).extractor(reference(), CPU)
        noise = 0.2 * np.random.default_rng(0).standard_normal((1, 12 * 8000)).clip(-3, 3)
        long = AudioClip(noise, 8000)
        features = extractor.extract([long, AudioClip(noise[:, : 10 * 8000], 8000)]).features
        assert torch.equal(extractor.extract([long]).features, features[:1])
        assert not torch.allclose(features[0], features[1], atol=1e-4)
        assert torch.allclose(features.norm(dim=1), torch.ones(2))

    def test_a_missing_folder_says_what_belongs_there(self, tmp_path, monkeypatch):
        monkeypatch.setenv("MULTIDIFF_CACHE", str(tmp_path))
        with pytest.raises(InputError, match=rf"not at {tmp_path}/weights/clap/: put config\.json, model.*and preproc"):
            CLAP().extractor(reference(), CPU)
