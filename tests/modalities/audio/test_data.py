import numpy as np
import pytest
import soundfile
import torch

from modalities.audio.data import Drums
from modalities.audio.drums import DRUMS
from modalities.audio.loudness import gain_to
from modalities.audio.modality import AudioModality
from modalities.audio.preparation import AudioPreparation
from modalities.audio.speech_commands import SpeechCommands
from multidiff.data.folder import Folder
from multidiff.errors import InputError

RATE = 8000
MONO = AudioModality(RATE)
STEP = 2**-14  # two roundings to 16 bits


def generator(seed=0):
    return np.random.default_rng(seed)


def noise(seconds, channels=1, rate=RATE, seed=0):
    return 0.2 * generator(seed).standard_normal((round(seconds * rate), channels)).clip(-3, 3)


def save(path, samples, rate=RATE, subtype="FLOAT"):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype)


class TestModality:
    @pytest.mark.parametrize("stereo", [False, True])
    def test_to_artifact_inverts_to_data(self, stereo):
        modality = AudioModality(RATE, stereo)
        clip = MONO.to_artifact(torch.from_numpy(noise(0.1).T).float())
        data = modality.to_data(clip)
        assert data.shape == (1 + stereo, clip.waveform.shape[1])
        again = modality.to_artifact(data)
        assert (again.channels, again.sample_rate) == (1 + stereo, RATE)
        assert np.allclose(again.with_channels(1).waveform, clip.waveform, atol=1e-5)

    def test_other_rates_are_resampled(self):
        clip = AudioModality(4 * RATE).to_artifact(torch.zeros(1, 4 * RATE))
        assert MONO.to_data(clip).shape == (1, RATE)

    def test_wrong_settings_are_named(self):
        with pytest.raises(InputError, match=r"modality\.encoding is one of 16, 24, float, not 8"):
            AudioModality(RATE, encoding=8)
        with pytest.raises(InputError, match=r"modality\.sample_rate .* not 0"):
            AudioModality(0)
        for seconds in (0, -1, 1e-9):
            with pytest.raises(InputError, match="at least one sample"):
                MONO.samples(seconds)

    def test_open_files_are_read_as_paths_are(self, tmp_path):
        path = tmp_path / "a.wav"
        MONO.write(MONO.to_artifact(torch.from_numpy(noise(0.1).T).float()), path, {"seed": 1})
        with path.open("rb") as file:
            assert np.array_equal(MONO.read(file).waveform, MONO.read(path).waveform)
        assert MONO.metadata(path) == {"seed": 1}

    @pytest.mark.parametrize("missing", [0, 100, -RATE // 1000])
    def test_fitted_pads_and_cuts_no_more_than_a_millisecond(self, missing):
        data = torch.from_numpy(noise(0.1).T).float()
        shape = (1, data.shape[1] + missing)
        fitted = MONO.fitted(MONO.to_artifact(data), shape)
        assert tuple(fitted.shape) == shape
        assert torch.equal(fitted[:, : data.shape[1]], data[:, : shape[1]])
        assert not fitted[:, data.shape[1] :].any()

    def test_regions_and_extensions_are_in_seconds(self):
        mask = MONO.mask((2, RATE), *MONO.region("0.25:0.5"))
        assert mask.shape == (2, RATE)
        assert mask.nonzero()[:, 1].unique().tolist() == list(range(RATE // 4, RATE // 2))
        data, length = MONO.extension(MONO.to_artifact(torch.zeros(1, RATE)), 0.5)
        assert (data.shape, length) == ((1, RATE), RATE * 3 // 2)

    def test_settings_give_a_folder_of_the_same_shape(self):
        for shape in ((1, 1), (1, 4001), (1, 10 * RATE - 1)):
            preparation = AudioPreparation(MONO, **MONO.settings_for(shape))
            assert preparation.shape == shape

    @pytest.mark.parametrize(("seconds", "refused"), [(0.5, False), (0.51, False), (0.49, False), (0.6, True)])
    def test_clips_are_compared_if_padding_alone_makes_a_difference(self, seconds, refused):
        clip = AudioModality(2 * RATE).to_artifact(torch.zeros(1, round(2 * RATE * seconds)))
        if refused:
            with pytest.raises(InputError, match=r"lasts 0\.6 s and the data 0\.5 s"):
                MONO.comparable(clip, (1, RATE // 2), foreign=True)
        else:
            assert MONO.comparable(clip, (1, RATE // 2), foreign=True) is clip


class TestDrums:
    def test_all_drums_in_turn_with_captions(self):
        dataset = Drums(AudioModality(16000), 16, seconds=0.5)
        assert dataset.shape == dataset.data(0, generator()).shape == (1, 8000)
        assert list(dataset.labels) == [*DRUMS, *DRUMS]
        for i, label in enumerate(dataset.labels):
            assert dataset.facts(i)["caption"].endswith(label.replace("_", " "))
            assert all(label.replace("_", " ") in caption for caption in dataset.fields["caption"][i])
        assert not torch.equal(dataset.data(0, generator()), dataset.data(8, generator()))

    def test_a_hit_does_not_depend_on_how_many_there_are(self):
        few, many = (Drums(MONO, count, seconds=0.1) for count in (3, 9))
        assert torch.equal(few.data(2, generator()), many.data(2, generator()))
        assert few.content != many.content
        assert few.content == Drums(MONO, 3, seconds=0.1).content
        assert few.content != Drums(MONO, 3, seconds=0.1, seed=1).content

    @pytest.mark.parametrize("modality", [AudioModality(RATE, stereo=True), AudioModality(44100)])
    def test_any_modality(self, modality):
        dataset = Drums(modality, 2, seconds=0.1)
        assert dataset.data(1, generator()).shape == dataset.shape == (modality.channels, modality.samples(0.1))

    def test_no_drum_is_no_data(self):
        with pytest.raises(InputError, match=r"data\.count .* not 0"):
            Drums(MONO, 0)


class TestAudioFolder:
    def folder(self, root, modality=MONO, seconds=0.5, **settings):
        return Folder(modality, root, seconds=seconds, cache=root.parent / "cache", **settings)

    def test_samples_labels_and_captions(self, tmp_path):
        root = tmp_path / "root"
        for i, name in enumerate(("hats/a.wav", "hats/b.flac", "kicks/c.aiff")):
            save(root / name, noise(0.5, seed=i), subtype="PCM_16")
        (root / "hats/b.txt").write_text("a bright hat")
        dataset = self.folder(root, loudness=None)
        assert len(dataset) == 3
        assert dataset.shape == (1, RATE // 2)
        assert torch.allclose(dataset.data(1, generator()), torch.from_numpy(noise(0.5, seed=1).T).float(), atol=STEP)
        assert list(dataset.labels) == ["hats", "hats", "kicks"]
        assert dataset.fields["caption"] == ["", "a bright hat", ""]
        assert dataset.facts(1) == {"seconds": 0.5, "label": "hats", "caption": "a bright hat"}

    def test_rates_and_channels_are_converted_and_reported_each_time(self, tmp_path, caplog):
        root = tmp_path / "root"
        save(root / "a.wav", noise(0.5))
        save(root / "b.wav", noise(0.5, channels=2, rate=4 * RATE), 4 * RATE)
        save(root / "c.wav", noise(0.5, rate=2 * RATE), 2 * RATE)
        dataset = self.folder(root)
        assert [dataset.data(i, generator()).shape for i in range(3)] == [(1, RATE // 2)] * 3
        (message,) = caplog.messages
        assert "converted: 1 from 16000 to 8000 Hz, 1 from 2 to 1 channels, 1 from 32000 to 8000 Hz" in message
        self.folder(root)
        assert caplog.messages == [message] * 2

    def test_long_files_are_cut_and_every_place_is_reached(self, tmp_path):
        root = tmp_path / "root"
        save(root / "loops/long.wav", noise(2.6))
        save(root / "hits/short.wav", noise(0.3))
        dataset = self.folder(root, loudness=None)
        assert len(dataset) == 6
        assert list(dataset.labels) == ["hits", *["loops"] * 5]
        assert dataset.fields["seconds"] == [0.3, *[0.5] * 5]
        short = dataset.data(0, generator())
        assert short[:, : round(0.3 * RATE)].any()
        assert not short[:, round(0.3 * RATE) :].any()
        whole = noise(2.6)[:, 0]
        windows = np.lib.stride_tricks.sliding_window_view(whole, 8)
        starts = []
        for seed in range(100):
            piece = dataset.data(1, generator(seed))[0]
            start = int(np.abs(windows - piece[:8].numpy()).max(axis=1).argmin())
            assert np.allclose(piece, whole[start : start + len(piece)], atol=STEP)
            starts.append(start / RATE)
        assert min(starts) < 0.15
        assert max(starts) > 1.95
        assert torch.equal(dataset.data(1, generator(7)), dataset.data(1, generator(7)))

    @pytest.mark.parametrize("level", [0.0, 0.25])
    def test_silent_places_are_avoided_within_bounds(self, tmp_path, level):
        """Also where a recorder adds a constant."""
        sound = np.full((20 * RATE, 1), level)
        sound[13 * RATE : 13 * RATE + 100] += 0.5
        save(tmp_path / "root/rare.wav", sound)
        dataset = self.folder(tmp_path / "root", loudness=None)
        assert all(np.ptp(dataset.data(0, generator(seed)).numpy()) > 0.1 for seed in range(20))

    def test_files_come_to_one_loudness(self, tmp_path):
        for i, gain in enumerate((0.01, 0.1, 1)):
            save(tmp_path / f"root/{i}.wav", gain * noise(1, seed=3))
        dataset = self.folder(tmp_path / "root", seconds=1, loudness=-30)
        levels = [dataset.data(i, generator()).std().item() for i in range(3)]
        assert levels == pytest.approx([levels[0]] * 3, rel=0.01)

    def test_a_file_above_full_scale_is_turned_down_as_a_whole_and_counted(self, tmp_path, caplog):
        sound = noise(0.5)
        save(tmp_path / "root/loud.wav", 30 * sound)
        save(tmp_path / "root/quiet.wav", sound)
        dataset = self.folder(tmp_path / "root", loudness=None)
        loud, quiet = (dataset.data(i, generator()).numpy() for i in range(2))
        assert np.allclose(quiet, sound.T, atol=STEP)
        assert np.allclose(loud, sound.T / np.abs(sound).max(), atol=STEP)
        assert "files converted: 1 to a lower level, to avoid clipping" in caplog.text

    def test_loudness_never_clips_and_spares_no_short_sound(self):
        for seconds in (0.01, 0.1, 1):
            sound = noise(seconds).T
            assert gain_to(sound, RATE, 0) * np.abs(sound).max() == pytest.approx(0.9)

    def test_what_cannot_be_used_is_named_and_counted(self, tmp_path, caplog):
        root = tmp_path / "root"
        save(root / "good.wav", noise(0.5))
        save(root / "nan.wav", np.full((RATE, 1), np.nan))
        save(root / "short.wav", noise(0.01))
        save(root / "silent.wav", np.zeros((RATE, 1)))
        (root / "text.mp3").write_bytes(b"no sound")
        save(root / "cut.wav", noise(0.5))
        (root / "cut.wav").write_bytes((root / "cut.wav").read_bytes()[:999])
        assert len(self.folder(root)) == 1
        assert "5 of 6 audio files" in caplog.text
        with pytest.raises(InputError) as error:
            self.folder(root, max_unreadable=4)
        for reason in (
            "cut.wav: truncated",
            "nan.wav: there are non-finite samples",
            "short.wav: lasts 0.01 s",
        ):
            assert reason in str(error.value)
        assert "set data.max_unreadable to at least 5" in str(error.value)

    @pytest.mark.parametrize(
        ("samples", "reason"),
        [
            (np.zeros((RATE, 1)), "silent"),
            (noise(0.01), "lasts 0.01 s, shorter than data.min_seconds=0.05"),
            (noise(1) * [1, -1], "silent at 8000 Hz and 1 channels"),
            (np.full((2 * RATE, 1), 0.25), "silent, at a constant level of 0.25"),
        ],
    )
    def test_a_folder_with_nothing_in_it_ends(self, tmp_path, samples, reason):
        for i in range(3):
            save(tmp_path / f"root/{i}.wav", samples)
        with pytest.raises(InputError) as error:
            self.folder(tmp_path / "root")
        assert str(error.value).startswith(f"no readable audio in {tmp_path / 'root'}/: 3 files tried (0.wav: {reason}")


class TestSpeechCommands:
    @pytest.fixture
    def root(self, tmp_path):
        root = tmp_path / "speech"
        for i, word in enumerate(("zero", "one", "two", "bed")):
            for j, speaker in enumerate("abcd"):
                for take in range(2):
                    save(root / word / f"{speaker}_nohash_{take}.wav", noise(0.5 + 0.1 * take, seed=10 * i + j))
        (root / "validation_list.txt").write_text("zero/c_nohash_0.wav\nzero/c_nohash_1.wav\none/c_nohash_0.wav\n")
        (root / "testing_list.txt").write_text(
            "".join(f"{w}/d_nohash_{t}.wav\n" for w in ("zero", "one") for t in "01")
        )
        with (root / "validation_list.txt").open("a") as lines:
            lines.write("one/c_nohash_1.wav\n")
        return root

    def split(self, root, split="train", words=("zero", "one")):
        return SpeechCommands(MONO, root, split, words, cache=root.parent / "cache")

    def test_splits_share_no_speaker(self, root):
        counts = {split: len(self.split(root, split)) for split in ("train", "validation", "test")}
        assert counts == {"train": 8, "validation": 4, "test": 4}
        train = self.split(root)
        assert train.labels.names == ("zero", "one")
        assert list(train.labels) == ["zero"] * 4 + ["one"] * 4
        assert train.shape == train.data(0, generator()).shape == (1, RATE)

    def test_a_speaker_in_two_splits_is_refused(self, root):
        (root / "testing_list.txt").write_text("zero/a_nohash_0.wav\n")
        with pytest.raises(InputError, match=r"speaker a is in both the test and the train split"):
            self.split(root)

    def test_what_is_missing_is_named(self, root):
        with pytest.raises(InputError, match=r"no folder .*three: set data.root"):
            self.split(root, words=("zero", "three"))
        with pytest.raises(InputError, match=r"data\.split is one of train, validation, test, not 'dev'"):
            self.split(root, "dev")
        (root / "testing_list.txt").unlink()
        with pytest.raises(InputError, match=r"testing_list\.txt cannot be read: Speech Commands comes with it"):
            self.split(root)
        (root / "testing_list.txt").touch()
        with pytest.raises(InputError, match="no file of the test split of zero, one"):
            self.split(root, "test")
