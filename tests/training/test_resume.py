"""A resumed run ends as an uninterrupted one, and is not resumed as another."""

import csv
import re

import pytest
import torch
import yaml
from PIL import Image

from multidiff.cli import train as command
from multidiff.configuration import read_yaml
from multidiff.diffusion.objectives import Objective
from multidiff.errors import InputError
from multidiff.training.checkpoints import newest_checkpoint
from multidiff.training.module import DiffusionModule
from multidiff.training.origin import check_equal
from multidiff.training.resume import continued
from multidiff.training.run_directory import check_same_run, read_settings
from multidiff.weights import FORMAT
from tests.cli.command import PICTURES, multidiff, refused
from tests.folders import boxes, tones
from tests.tiny import tiny_train, weights

ADAMW = ("optimizer=adamw",)
CODEC = (*ADAMW, "experiment=codec/image", "autoencoder.widths=[8,8]", "autoencoder.bottleneck.channels=2")
CODEC += ("reconstruction.perceptual=0",)
SOUNDS = (*ADAMW, "experiment=audio/folder", "modality.sample_rate=8000", "backbone.widths=[8,8]")
SOUNDS += ("backbone.head_size=8",)
MESHES = ("experiment=shape/mesh_folder", "backbone.width=8", "backbone.head_size=8")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a step, which no test changes."""
    run_dir = tmp_path_factory.mktemp("run")
    tiny_train(run_dir, "trainer.max_steps=1")
    return run_dir


def test_stopping_and_resuming_changes_no_bit(tmp_path):
    """Five steps, and three and two, mid-epoch, with validation between, loader processes and accumulation."""
    settings = ("trainer.accumulate_grad_batches=2", "trainer.val_check_interval=2", "loader.holdout=0.05")
    tiny_train(tmp_path / "whole", "trainer.max_steps=5", *settings)
    tiny_train(tmp_path / "halves", "trainer.max_steps=3", "loader.workers=2", *settings)
    result = tiny_train(tmp_path / "halves", "trainer.max_steps=5", "loader.workers=2", "resume=true", *settings)
    assert result.steps == 5
    assert result.samples == 5 * 8 * 2
    whole, halves = weights(tmp_path / "whole"), weights(tmp_path / "halves")
    assert whole.keys() == halves.keys()
    assert all(torch.equal(whole[name], halves[name]) for name in whole)
    files = [(tmp_path / run / "model" / "model.safetensors").read_bytes() for run in ("whole", "halves")]
    assert files[0] == files[1]


def test_samples_are_counted_over_resumes_with_other_batches(tmp_path):
    tiny_train(tmp_path, "trainer.max_steps=3")
    result = tiny_train(tmp_path, "trainer.max_steps=5", "resume=true", "loader.batch_size=4")
    assert result.samples == 3 * 8 + 2 * 4
    assert tiny_train(tmp_path, "trainer.max_steps=5", "resume=true").samples == result.samples


def test_a_run_is_resumed_by_its_directory_alone(tmp_path, capsys):
    """With its own settings, although digits of another size are the default, and with the changes that are given."""
    run_dir = tmp_path / "a run, of two"
    tiny_train(run_dir, "trainer.max_steps=1", "seed=3", "checkpoint_every=7")
    before = read_settings(run_dir)
    changes = ["trainer.max_steps=2", "optimizer.lr=0.01"]
    command.run([f"run_dir={run_dir}", "resume=auto", *changes, "--config-dir", str(tmp_path)])
    assert capsys.readouterr().out.splitlines()[-2].startswith("2 steps")
    changed = {name: value for name, value in read_settings(run_dir).items() if value != before[name]}
    assert set(changed) == {"trainer", "optimizer", "resume"}
    assert {**changed["trainer"], "max_steps": 1} == before["trainer"]
    assert changed["optimizer"]["lr"] == 0.01


def test_a_resume_does_not_delete_a_setting_that_trainings_read(run):
    with pytest.raises(InputError, match="budget cannot be deleted"):
        command.run([f"run_dir={run}", "resume=true", "~budget"])


SETTINGS = """
resume: false
run_dir: a/b
budget: 2h
init: null
optimizer: {lr: 1}
trainer: {max_steps: null, devices: auto}
callbacks: {previews: {every: 3}}
logger: {csv: {save_dir: a/b/logs}, other: {save_dir: a/bc}, none: null}
conditioning: {label: {vocabulary: ["${"]}}
"""
"""A few settings of a run that started in another folder, with a class that looks like an interpolation."""


@pytest.mark.parametrize(
    "words",
    [
        ("resume=true",),
        ("run_dir={}",),
        ("run_dir={}", "resume=false"),
        ("run_dir={}", "resume=true", "experiment=image/digits"),
        ("run_dir={}", "resume=true", "experiment=image/digits", "optimizer=muon"),
        ("run_dir={}", "resume=true", "trainer.steps=3"),
        ("run_dir={}", "resume=true", "~devices.count"),
        ("run_dir={}", "resume=true", "+trainer.devices.count=3"),
        ("run_dir={}", "resume=true", "seed=0,1"),
        ("run_dir={}", "resume=true", "budget=[2"),
        ("run_dir={}/other", "resume=auto", "experiment=image/digits"),
        ("run_dir={}/other", "resume=true", "data=digits"),
    ],
)
def test_other_commands_compose_their_settings(tmp_path, words):
    (tmp_path / "config.yaml").write_text(SETTINGS)
    assert continued([word.format(tmp_path) for word in words]) is None


@pytest.mark.parametrize("change", ["optimizer=muon", "logger=[csv,wandb]", "~ema"])
def test_a_resume_without_its_experiment_refuses_another_option_of_a_group(tmp_path, change):
    (tmp_path / "config.yaml").write_text(SETTINGS)
    with pytest.raises(
        InputError, match=r"settings of the run, in which no other .* can be chosen: give single settings"
    ):
        continued([f"run_dir={tmp_path}", "resume=true", change])


@pytest.mark.parametrize("resume", ["true", "auto"])
def test_a_run_that_is_not_there_is_not_taken_for_a_new_one(tmp_path, resume):
    """Neither where nothing is, nor where a rehearsal left a picture of the data; with or without further changes."""
    (tmp_path / "rehearsed").mkdir()
    (tmp_path / "rehearsed" / "run.lock").touch()
    for name in ("gone", "rehearsed"):
        for changes in ((), ("trainer.max_steps=3",), ("data.size=8",), ("data.root=pictures",)):
            saying = f"there is no run to resume at {name}: to start one, add experiment="
            refused("train", f"run_dir={name}", f"resume={resume}", *changes, cwd=tmp_path, saying=saying)


def test_values_of_a_resume_are_read_as_hydra_reads_them(tmp_path):
    (tmp_path / "config.yaml").write_text(SETTINGS)
    words = ("resume=True", "init='a, b'", "optimizer.lr=1e-3", "trainer.devices=[0,1]", "+trainer.deterministic=true")
    found = continued([f"run_dir={tmp_path}/", *words, "~callbacks.previews", "~callbacks.gone", "logger.other=null"])
    assert found == {
        "resume": True,
        "run_dir": f"{tmp_path}/",
        "budget": "2h",
        "init": "a, b",
        "optimizer": {"lr": 1e-3},
        "trainer": {"max_steps": None, "devices": [0, 1], "deterministic": True},
        "callbacks": {},
        "logger": {"csv": {"save_dir": f"{tmp_path}/logs"}, "other": None, "none": None},
        "conditioning": {"label": {"vocabulary": ["${"]}},
    }


def test_a_length_that_a_resume_gives_replaces_that_of_the_run(tmp_path):
    (tmp_path / "config.yaml").write_text(SETTINGS)
    for given in ({"trainer.max_steps": 5}, {"budget": "1h"}, {}, {"budget": None, "trainer.max_steps": 5}):
        words = [f"{key}={'null' if value is None else value}" for key, value in given.items()]
        found = continued([f"run_dir={tmp_path}", "resume=auto", *words])
        length = {"budget": found["budget"], "trainer.max_steps": found["trainer"]["max_steps"]}
        assert length == {"budget": None, "trainer.max_steps": None} | (given or {"budget": "2h"})


def test_a_run_that_was_moved_logs_where_it_is(tmp_path, monkeypatch):
    tiny_train(tmp_path / "before", "trainer.max_steps=1", "trainer.log_every_n_steps=1")
    (tmp_path / "before").rename(tmp_path / "now")
    monkeypatch.chdir(tmp_path / "now")
    command.run(["run_dir=.", "resume=true", "trainer.max_steps=2"])
    assert (tmp_path / "now" / "logs" / "csv" / "metrics.csv").is_file()
    assert not (tmp_path / "before").exists()


def test_a_resume_has_one_length(tmp_path):
    (tmp_path / "config.yaml").write_text(SETTINGS)
    with pytest.raises(InputError, match="give one of them"):
        command.run([f"run_dir={tmp_path}", "resume=true", "budget=1h", "trainer.max_steps=3"])


def logged(run_dir, name):
    """The values of a metric by their step, over all parts of a run."""
    rows = [row for path in (run_dir / "logs" / "csv").iterdir() for row in csv.DictReader(path.open())]
    return {int(row["step"]): row[name] for row in rows if row.get(name)}


@pytest.mark.slow
def test_loggers_continue_at_the_step_of_the_run_and_log_the_same(tmp_path):
    """In mixed precision too, after a step with a validation and after others."""
    settings = ("trainer.log_every_n_steps=1", "trainer.precision=bf16-mixed", "trainer.val_check_interval=3")
    tiny_train(tmp_path / "whole", "trainer.max_steps=7", *settings)
    for steps in (2, 3, 4, 7):
        resume = newest_checkpoint(tmp_path / "parts" / "checkpoints") is not None
        tiny_train(tmp_path / "parts", f"trainer.max_steps={steps}", f"resume={str(resume).lower()}", *settings)
    for name in ("train/loss", "train/gradient_norm", "val/loss"):
        assert logged(tmp_path / "parts", name) == logged(tmp_path / "whole", name)
    assert len(logged(tmp_path / "whole", "train/loss")) == 7
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


class Killed(BaseException):
    """What no one catches."""


@pytest.mark.slow
def test_a_run_killed_after_a_checkpoint_resumes_to_the_bit(tmp_path, monkeypatch):
    """Killed in step 5, one of its three batches in, with checkpoints every 2; and there again after a resume."""
    settings = ("trainer.accumulate_grad_batches=3", "checkpoint_every=2", "trainer.max_steps=7")
    tiny_train(tmp_path / "whole", *settings)
    original = DiffusionModule.training_step

    def killed(self, batch, batch_idx):
        if batch_idx == 4 * 3 + 1:
            raise Killed
        return original(self, batch, batch_idx)

    monkeypatch.setattr(DiffusionModule, "training_step", killed)
    for _ in range(2):
        with pytest.raises(Killed):
            tiny_train(tmp_path / "killed", "resume=auto", *settings)
    monkeypatch.undo()
    assert newest_checkpoint(tmp_path / "killed" / "checkpoints").stem == "step_00000004"
    tiny_train(tmp_path / "killed", "resume=true", *settings)
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert whole["ema.updates"] == 7


@pytest.mark.parametrize(("before", "after", "seen"), [(1, 2, [6, 7, 8, 9]), (2, 1, [3, 4])])
def test_a_resume_with_other_accumulation_continues_at_the_same_data(tmp_path, monkeypatch, before, after, seen):
    tiny_train(tmp_path, "trainer.max_steps=3", f"trainer.accumulate_grad_batches={before}")
    original, batches = DiffusionModule.training_step, []

    def noted(self, batch, batch_idx):
        batches.append((batch_idx, self.global_step))
        return original(self, batch, batch_idx)

    monkeypatch.setattr(DiffusionModule, "training_step", noted)
    result = tiny_train(tmp_path, "trainer.max_steps=5", f"trainer.accumulate_grad_batches={after}", "resume=true")
    assert result.finished
    assert batches == [(batch, batch // after) for batch in seen]


def test_a_resume_takes_the_learning_rate_of_its_config(tmp_path):
    tiny_train(tmp_path, "trainer.max_steps=2", "warmup_steps=0")
    tiny_train(tmp_path, "trainer.max_steps=4", "warmup_steps=0", "resume=true", "optimizer.lr=1e-9")
    checkpoint = torch.load(newest_checkpoint(tmp_path / "checkpoints"), weights_only=True)
    assert checkpoint["optimizer_states"][0]["param_groups"][0]["lr"] == 1e-9


@pytest.mark.parametrize(
    "override",
    [
        "backbone.widths=[16,16]",
        "seed=3",
        "loader.holdout=0.2",
        "schedule=flow",
        "optimizer._target_=torch.optim.Adam",
        "optimizer=schedule_free",
        "codec=scaling",
    ],
)
def test_a_run_is_not_resumed_as_another(run, override):
    before = (run / "config.yaml").read_text()
    with pytest.raises(InputError, match=f"was trained with {override.split('=')[0]}"):
        tiny_train(run, "trainer.max_steps=2", "resume=true", override)
    assert (run / "config.yaml").read_text() == before


def test_a_refused_resume_names_a_few_settings_before_and_after(tmp_path):
    names = [f"a class with a long name, number {i}" for i in range(2000)]
    before = {"seed": 0, "conditioning": {"vocabulary": names}, "backbone": {"a": 1, "b": 2}, "loader": {"holdout": 1}}
    after = {
        "seed": 1,
        "conditioning": {"vocabulary": names[1:]},
        "backbone": {"a": 3, "b": 4},
        "loader": {"holdout": 2},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(before))
    with pytest.raises(InputError, match=r"backbone.a=1, now 3; .*; and 2 more: resume with the same") as error:
        check_same_run(tmp_path, after)
    assert len(str(error.value)) < 500


def test_settings_of_decoding_alone_may_change(tmp_path):
    """Also those that an older run does not have yet, in a resume and from an initial model."""
    before = {"codec": {"_target_": "C", "size": 8, "smoothing": 11}}
    after = {"codec": {"_target_": "C", "size": 8, "smoothing": 7, "iterations": 4}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**before, "format": FORMAT}))
    (tmp_path / "model.safetensors").touch()
    check_same_run(tmp_path, after)
    check_equal("model", str(tmp_path), after, ("codec",))
    after["codec"]["size"] = 16
    with pytest.raises(InputError, match=r"codec\.size=8, now 16"):
        check_same_run(tmp_path, after)
    with pytest.raises(InputError, match=r"codec\.size=8 and the student 16"):
        check_equal("model", str(tmp_path), after, ("codec",))


def test_resuming_in_the_middle_of_an_epoch_repeats_no_data(tmp_path, monkeypatch):
    seen = []
    original = Objective.__call__

    def spy(self, context):
        seen.append(context.x0.clone())
        return original(self, context)

    monkeypatch.setattr(Objective, "__call__", spy)
    tiny_train(tmp_path / "a", "trainer.max_steps=6")
    whole, seen[:] = list(seen), []
    tiny_train(tmp_path / "b", "trainer.max_steps=2")
    tiny_train(tmp_path / "b", "trainer.max_steps=6", "resume=true")
    assert all(torch.equal(one, other) for one, other in zip(whole, seen, strict=True))


def test_a_resume_after_the_data_grew_keeps_the_classes_and_statistics(tmp_path, caplog):
    folder, size = tmp_path / "pictures", (9, 9)
    for i, label in enumerate(("cats", "dogs")):
        (folder / label).mkdir(parents=True)
        for k in range(3):
            Image.new("RGB", size, (90 * i, 40 * k, 0)).save(folder / label / f"{k}.png")
    settings = (*PICTURES, f"data.root={folder}", "conditioning=label", "codec=scaling", "run_dir=run")
    assert multidiff("train", *settings, "trainer.max_steps=1", cwd=tmp_path).returncode == 0
    before = read_settings(tmp_path / "run")
    (folder / "birds").mkdir()
    Image.new("RGB", size, "white").save(folder / "birds" / "0.png")
    done = multidiff("train", *settings, "trainer.max_steps=4", "resume=true", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    after = read_settings(tmp_path / "run")
    assert after["conditioning"] == before["conditioning"]
    assert after["codec"] == before["codec"]
    assert "training keeps the classes, vocabulary and statistics of the checkpoint" in caplog.text


@pytest.mark.slow
def test_new_words_of_captions_are_known_after_a_resume(tmp_path):
    """Those of captions that are gone, too; the tokenizer, of which the weights depend, stays."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for k, text in enumerate(("a red cat", "a blue cat", "one green dog")):
        Image.new("RGB", (9, 9), (80 * k, 0, 0)).save(folder / f"{k}.png")
        (folder / f"{k}.txt").write_text(text)
    settings = (*PICTURES, f"data.root={folder}", "conditioning=text", "conditioning.caption.dim=32", "run_dir=run")
    settings += ("callbacks.previews.every=0",)
    assert multidiff("train", *settings, "trainer.max_steps=1", cwd=tmp_path).returncode == 0
    before = read_settings(tmp_path / "run")["conditioning"]["caption"]
    assert before["known"] == "a blue cat dog green one red"
    (folder / "2.txt").write_text("a purple zebra")
    done = multidiff("train", "run_dir=run", "trainer.max_steps=2", "resume=true", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    known = f"{before['known']} purple zebra"
    assert read_settings(tmp_path / "run")["conditioning"]["caption"] == {**before, "known": known}
    assert read_yaml(tmp_path / "run" / "model" / "config.yaml")["conditioning"]["caption"]["known"] == known


def squares(folder, count):
    for i in range(count):
        Image.new("RGB", (9, 9), (60 * i, 0, 0)).save(folder / f"{i}.png")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("write", "settings", "size", "shapes"),
    [
        (squares, PICTURES, "size=8, 6", ("3x8x8", "3x6x6")),
        (squares, CODEC, "size=8, 4", ("3x8x8", "3x4x4")),
        (tones, SOUNDS, "seconds=0.1, 0.2", ("1x800", "1x1600")),
        (boxes, MESHES, "points=64, 32", ("6x64", "6x32")),
    ],
)
def test_a_run_is_not_resumed_on_samples_of_another_shape(tmp_path, write, settings, size, shapes):
    """Before the data are encoded or anything is written; with the same shape in other words, it is."""
    (tmp_path / "data").mkdir()
    write(tmp_path / "data", 4)
    name, was, now = re.split("=|, ", size)
    common = ("trainer.accelerator=cpu", "loader.batch_size=2", "loader.workers=0", "callbacks.previews.every=0")
    first = (*settings, "data.root=data", f"data.{name}={was}", *common, "run_dir=run", "trainer.max_steps=1")
    done = multidiff("train", *first, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    old, new = (f"{shape} (data.{name}={value})" for shape, value in zip(shapes, (was, now), strict=True))
    saying = f"run was trained on samples of {old}, and these are of {new}"
    changes = (f"data.{name}={now}", "trainer.max_steps=2")
    before = (tmp_path / "run" / "config.yaml").read_text()
    refused("train", "run_dir=run", "resume=auto", *changes, cwd=tmp_path, saying=saying)
    assert (tmp_path / "run" / "config.yaml").read_text() == before
    same = f"data.{name}=[{was},{was}]" if name == "size" else f"data.{name}={was}"
    assert multidiff("train", "run_dir=run", "resume=auto", same, "trainer.max_steps=2", cwd=tmp_path).returncode == 0


def test_another_modality_is_refused_before_the_data_are_read(run, tmp_path):
    saying = "was trained with modality._target_"
    settings = ("experiment=audio/folder", "data.root=nowhere", "resume=true")
    refused("train", *settings, f"run_dir={run}", cwd=tmp_path, saying=saying)
