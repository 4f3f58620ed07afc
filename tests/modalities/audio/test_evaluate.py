"""`multidiff evaluate` for sounds: models and files beside drums and folders, with protocol and floor."""

import json

import numpy as np
import pytest
import soundfile

from modalities.audio.data import Drums
from modalities.audio.files import write_clip
from multidiff.configuration import described, instantiate
from multidiff.evaluation import Reference
from multidiff.modality import Modality
from tests.cli.command import multidiff as command
from tests.cli.command import refused
from tests.modalities.audio.test_commands import TINY, noise

SECONDS = 0.25  # 31.25 steps of the STFT, so that samples of the model are a little longer than the data
DRUMS = f"drums count=120 seconds={SECONDS}"
QUICK = ("--features", "audio_encoder steps=3", "--holdout", 0.3)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """One folder for all, so that the encoder is trained once."""
    folder = tmp_path_factory.mktemp("audio")
    training = ("train", "experiment=audio/drums", *TINY, "data.count=16", f"data.seconds={SECONDS}", "run_dir=run")
    done = command(*training, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def evaluated(work, *arguments):
    done = command("evaluate", *arguments, *QUICK, "--json", "scores.json", cwd=work)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads((work / "scores.json").read_text())


@pytest.mark.slow
def test_a_model_scores_beside_real_drums(work):
    request = ("run", "--data", DRUMS, "--samples", 24, "--steps", 1, "--report", "report.html")
    printed, record = evaluated(work, *request)
    assert {"frechet_distance", "frechet_distance_infinite", "kernel_distance", "inception_score"} <= set(
        record["scores"]
    )
    assert all(np.isfinite([score["value"], score["floor"]]).all() for score in record["scores"].values())
    assert record["classifier"]["class_names"][:2] == ["kick", "snare"]
    assert sum(map(sum, record["classifier"]["table"])) == 24
    protocol = record["protocol"]
    assert protocol["counts"] == {"generated": 24, "reference": 84, "held_out": 36}
    said = ("audio_encoder", "16000 Hz", protocol["reference"]["content"][:12], "24 samples", "84 real", "36 more")
    assert all(words in printed for words in said), printed
    assert (work / "report.html").read_text().count("<img") > 12


@pytest.mark.slow
def test_a_planted_copy_among_files_is_the_closest_pair(work):
    """Quieter drums of another seed, of which one is a training sample."""
    modality = instantiate(Modality, described("modality", "audio"))
    reference = Reference(modality, Drums(modality, 120, SECONDS), 0.3, 0)
    others = Drums(modality, 40, SECONDS, seed=1)
    for i in range(39):
        clip = modality.to_artifact(others.data(i, np.random.default_rng(0)))
        write_clip(clip, work / f"files/{i:02d}.wav", {}) if i != 17 else None
    write_clip(reference.artifact(reference.training[50]), work / "files/17.wav", {})
    _, record = evaluated(work, "--generated", "files", "--data", DRUMS, "--modality", "audio")
    closest = record["memorisation"]["closest"][0]
    assert (closest["sample"], closest["training_sample"]) == (17, 50)
    assert closest["distance"] < 1  # dB, of 16 bits


def test_a_folder_is_data_too_and_clusters_do_without_classes(work):
    for i in range(70):
        write_clip(noise(0.5, rate=22050, seed=i), work / f"sounds/{i}.wav", {})
    printed, record = evaluated(work, "run", "--data", "sounds", "--samples", 20, "--steps", 1)
    assert record["classifier"] is None
    assert "inception_score" not in record["scores"]
    assert "clusters of spectrograms" in printed


def test_mistakes_are_one_line(work):
    shape = 'give other data, or settings for that shape, as in --data "NAME KEY=VALUE ..."'
    refused("evaluate", "run", "--data", "drums count=120", cwd=work, saying=shape)
    refused("evaluate", "run", "--data", "digits", cwd=work, saying="digits")
    wrong = ("evaluate", "run", "--data", DRUMS, "--holdout", 0.3)
    refused(*wrong, "--features", "encoder", cwd=work, saying="of images, and the data are of the modality audio")
    refused(*wrong, "--features", "dinov2", cwd=work, saying="of images, and the data are of the modality audio")
    refused(*wrong, "--features", "vggish", cwd=work, saying="put https://github.com/harritaylor/torchvggish")
    (work / "silence").mkdir()
    soundfile.write(work / "silence" / "0.wav", np.zeros(1600), 16000)
    silence = ("evaluate", "--generated", "silence", "--data", DRUMS)
    refused(
        *silence, "--modality", "audio rate=3", cwd=work, saying="'rate=3' is not KEY=VALUE with a key of: sample_rate"
    )
