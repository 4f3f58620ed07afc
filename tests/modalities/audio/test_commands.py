"""Sounds through the commands and the pipeline: train, sample, vary, inpaint, extend; every mistake is one line."""

import json

import numpy as np
import pytest
import soundfile

import multidiff
from modalities.audio.clip import AudioClip
from modalities.audio.files import read_clip, read_metadata, write_clip
from multidiff.errors import InputError
from tests.cli.command import multidiff as command
from tests.cli.command import refused

RATE, SECONDS = 16000, 0.256  # 32 steps of the STFT
TINY = (
    "backbone.widths=[8,40]",
    "backbone.head_size=8",
    "loader.batch_size=2",
    "loader.workers=0",
    "trainer.accelerator=cpu",
    "trainer.max_steps=1",
    "callbacks.previews.every=0",
)


def noise(seconds=SECONDS, rate=RATE, channels=1, seed=0):
    wave = 0.1 * np.random.default_rng(seed).standard_normal((channels, round(seconds * rate)))
    return AudioClip(wave.clip(-0.4, 0.4), rate)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audio")
    training = ("train", "experiment=audio/drums", *TINY, "data.count=16", f"data.seconds={SECONDS}", "run_dir=run")
    done = command(*training, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.fixture(scope="module")
def pipeline(run_dir):
    return multidiff.load(run_dir)


def test_sample_writes_sounds_with_their_plan(run_dir, tmp_path):
    done = command("sample", run_dir, "-n", 2, "--label", "kick", "--steps", 2, "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "00000.wav",
        "00001.wav",
        "preview.png",
        "samples.json",
    }
    clip = read_clip(tmp_path / "out/00001.wav")
    assert (clip.sample_rate, clip.seconds) == (RATE, SECONDS)
    assert read_metadata(tmp_path / "out/00001.wav")["samples"] == [{"label": "kick"}]


@pytest.mark.parametrize("suffix", ["flac", "ogg"])
def test_other_formats(run_dir, tmp_path, suffix):
    request = ("sample", run_dir, "-n", 1, "--steps", 1, "--format", suffix, "--out", "out")
    assert command(*request, cwd=tmp_path).returncode == 0
    assert read_metadata(tmp_path / f"out/00000.{suffix}")["seeds"] == {"kind": "seeded", "seed": 0}


@pytest.mark.slow
def test_folders_and_speech_commands_train(tmp_path):
    for i in range(4):
        word = ("zero", "one")[i % 2]
        (tmp_path / "2024" / word).mkdir(parents=True, exist_ok=True)
        write_clip(noise(1, seed=i), tmp_path / f"2024/{word}/s{i}_nohash_0.wav", {})
    for name in ("validation_list.txt", "testing_list.txt"):
        (tmp_path / "2024" / name).touch()
    folder = ("experiment=audio/folder", "conditioning=label", "data.seconds=0.3", "run_dir=folder")
    words = ("experiment=audio/sc09", "data.words=[zero,one]", "run_dir=words")
    for settings in (folder, words):
        done = command("train", *settings, *TINY, "data.root=2024", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    done = command("sample", "words", "-n", 1, "--label", "one", "--steps", 1, "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("codec", ["waveform", "patched", "stft", "stft_bands"])
def test_every_codec_trains_and_samples(tmp_path, codec):
    training = ("train", "experiment=audio/drums", *TINY, f"codec={codec}", "data.count=4")
    assert command(*training, "data.seconds=0.1", "run_dir=run", cwd=tmp_path).returncode == 0
    (clip,) = multidiff.load(tmp_path / "run").sample(1, steps=1)
    assert 0 <= clip.seconds - 0.1 < 0.01


@pytest.mark.parametrize("kind", ["silent", "unreadable", "short", "empty"])
def test_a_folder_without_a_usable_sound(tmp_path, kind):
    root = tmp_path / "sounds"
    root.mkdir()
    samples = {"silent": np.zeros(RATE), "short": np.ones(10)}.get(kind)
    for i in range(2 * (kind != "empty")):
        if samples is None:
            (root / f"{i}.wav").write_bytes(b"no sound")
        else:
            soundfile.write(root / f"{i}.wav", samples, RATE)
    training = ("train", "experiment=audio/folder", *TINY, f"data.root={root}", "run_dir=run")
    refused(*training, cwd=tmp_path, saying="sounds")


def test_sounds_that_no_memory_holds(tmp_path):
    training = ("train", "experiment=audio/drums", *TINY, "data.seconds=1e12", "run_dir=run")
    refused(*training, cwd=tmp_path, saying="not enough memory")


class TestPipeline:
    def test_clips_come_out(self, pipeline):
        clips = pipeline.sample(2, label="snare", steps=2)
        assert all(isinstance(clip, AudioClip) for clip in clips)
        assert clips[0].waveform.shape == (1, round(SECONDS * RATE))

    def test_variations_start_from_a_clip_of_any_rate_and_shorter(self, pipeline):
        for init in (noise(), noise(rate=44100, channels=2), noise(0.1)):
            (known,) = pipeline.artifacts(pipeline.canvas.x0(init)[None])
            given = pipeline.modality.converted(init).waveform[0][: known.waveform.shape[1]]
            assert np.abs(known.waveform[0, : len(given)] - given).max() < 1e-4
            assert np.abs(known.waveform[0, len(given) :]).max(initial=0) < 1e-4
            (clip,) = pipeline.sample(1, init=init, strength=0.5, steps=2)
            assert clip.seconds == SECONDS

    def test_a_span_is_regenerated_and_the_rest_is_kept(self, pipeline):
        clip, start, end, reach = noise(), 0.1, 0.15, pipeline.model.codec.size
        (made,) = pipeline.inpaint(clip, start, end, steps=3, repeats=1)
        difference = np.abs(made.waveform - clip.waveform)[0]
        assert difference[: round(start * RATE) - reach].max() < 1e-4
        assert difference[round(end * RATE) + reach :].max() < 1e-4
        assert difference[round(start * RATE) : round(end * RATE)].max() > 1e-3

    @pytest.mark.parametrize("seconds", [0.05, 1.0])
    def test_a_clip_is_extended(self, pipeline, seconds):
        clip, reach = noise(), pipeline.model.codec.size
        (longer,) = pipeline.extend(clip, seconds, steps=2, repeats=1)
        assert 0 <= longer.seconds - SECONDS - seconds < 0.01
        kept = clip.waveform.shape[1] - reach
        assert np.abs(longer.waveform[:, :kept] - clip.waveform[:, :kept]).max() < 1e-4

    @pytest.mark.parametrize(
        ("draw", "message"),
        [
            (lambda pipe: pipe.sample(1, init=noise(1), strength=0.5), r"generates 0\.256 s .* lasts 1 s: cut it"),
            (lambda pipe: pipe.inpaint(noise(), 0.2, 0.3), "from 0.2 to 0.3 s is not within the 0.256 s"),
            (lambda pipe: pipe.inpaint(noise(), 0.1, 0.1), "not within"),
            (lambda pipe: pipe.inpaint(noise(), -0.1, 0.1), "not within"),
            (lambda pipe: pipe.inpaint(noise(), 0, float("inf")), "not within"),
            (lambda pipe: pipe.inpaint(noise(), float("nan"), 0.1), "not within"),
            (lambda pipe: pipe.extend(noise(), 0), "at least one sample"),
            (lambda pipe: pipe.extend(noise(), -1), "at least one sample"),
            (lambda pipe: pipe.extend(noise(), float("inf")), "a finite amount"),
            (lambda pipe: pipe.extend(noise(), float("nan")), "a finite amount"),
            (lambda pipe: pipe.extend(noise(0.001), 1), "too short to extend"),
        ],
    )
    def test_wrong_edits_are_explained(self, pipeline, draw, message):
        with pytest.raises(InputError, match=message):
            draw(pipeline)


def test_edits_on_the_command_line(run_dir, tmp_path):
    write_clip(noise(), tmp_path / "a.wav", {})
    request = ("sample", run_dir, "-n", 1, "--steps", 1, "--init", "a.wav")
    for out, options in {"x": ("--strength", 0.5), "y": ("--mask", "0.1:0.2"), "z": ("--extend", 0.3)}.items():
        assert command(*request, *options, "--out", out, cwd=tmp_path).returncode == 0
        assert json.loads((tmp_path / out / "samples.json").read_text())["edit"]["init"]["file"] == "a.wav"
    assert read_clip(tmp_path / "z/00000.wav").seconds == pytest.approx(SECONDS + 0.3, abs=0.01)
    refused(*request, "--mask", "0.1", "--out", "no", cwd=tmp_path, saying="START:END in seconds")
    refused(*request, "--mask", "0.1:9", "--out", "no", cwd=tmp_path, saying="not within the 0.256 s")
    refused(*request, "--extend", "0", "--out", "no", cwd=tmp_path, saying="at least one sample")
