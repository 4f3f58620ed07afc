"""`multidiff train`: a Hydra application whose mistakes are one line and status 2."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from PIL import Image

from multidiff.cli.train import _latent_training, _quoted
from multidiff.errors import InputError
from multidiff.training.module import DiffusionModule
from multidiff.training.train import train
from tests.cli.command import PICTURES, multidiff, refused
from tests.tiny import TINY, fast_compose
from tests.tiny_codec import TINY_CODEC


def test_train_is_a_hydra_application_that_litters_nowhere(tmp_path):
    shown = multidiff("train", *TINY, "--cfg", "job", cwd=tmp_path)
    assert yaml.safe_load(shown.stdout)["backbone"]["widths"] == [8, 8]
    assert not list(tmp_path.iterdir())
    assert multidiff("train", *TINY, "run_dir=run", "trainer.max_steps=1", cwd=tmp_path).returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_codec_ends_with_the_command_that_trains_on_its_latents(tmp_path):
    for i in range(20):
        Image.new("RGB", (8, 8), (12 * i, 0, 0)).save(tmp_path / f"{i}.png")
    own = ["data=image_folder", f"data.root={tmp_path}", "data.size=8", "modality.channels=3"]
    done = multidiff("train", *TINY_CODEC, *own, "data.cache=my cache", "run_dir=a codec", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    command = shlex.split(done.stdout.splitlines()[-1])
    assert command[:4] == ["next:", "multidiff", "train", "experiment=image/folder_latent"]
    assert {*command[4:]} == {*own, "data.cache=my cache", "codec.path=a codec", "run_dir=RUN"}
    resumed = multidiff("train", "run_dir=a codec", "resume=true", "trainer.max_steps=3", cwd=tmp_path)
    assert resumed.stdout.splitlines()[-1].endswith(
        "experiment=image/folder_latent 'codec.path=a codec' run_dir=RUN, with data and modality set as for the codec"
    )
    unknown = _latent_training({"latent_experiment": None}, Path("other"), [])
    assert unknown.startswith("codec=learned codec.path=other")


def test_multirun_gives_each_job_its_own_directory(tmp_path):
    done = multidiff("train", *TINY, "--multirun", "run_dir=sweep", "seed=1,2", "trainer.max_steps=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    seeds = [yaml.safe_load((tmp_path / "sweep" / job / "config.yaml").read_text())["seed"] for job in "01"]
    assert seeds == [1, 2]
    assert (tmp_path / "sweep" / "1" / "model" / "model.safetensors").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["sweep"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [("trainer=cpu_ddp", "trainer.val_check_interval=1000"), ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")],
)
def test_a_sweep_of_several_processes_or_by_joblib_gives_each_job_its_own_directory(tmp_path, options):
    """As a command of its own, since Lightning starts further processes by repeating the command."""
    if "hydra/launcher=joblib" in options:
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    sweep = ["run_dir=sweep", "seed=1,2", "trainer.max_steps=1", "hydra.sweep.subdir=${seed}"]
    command = [sys.executable, "-m", "multidiff.cli.main", "train", "--multirun", *TINY, *sweep, *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for seed in (1, 2):
        assert yaml.safe_load((tmp_path / "sweep" / str(seed) / "config.yaml").read_text())["seed"] == seed
        assert (tmp_path / "sweep" / str(seed) / "model" / "model.safetensors").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["sweep"]


def test_a_users_own_configs_come_in_by_config_dir(tmp_path):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - image/digits\n  - override /prediction: flow\nseed: 7\n"
    )
    shown = multidiff("train", "--config-dir", "mine", "experiment=mine", "--cfg", "job", cwd=tmp_path)
    config = yaml.safe_load(shown.stdout)
    assert config["prediction"]["_target_"].endswith("Flow")
    assert (config["seed"], config["modality"]["channels"]) == (7, 1)


def test_a_users_own_config_may_say_what_a_folder_of_data_holds(tmp_path):
    (tmp_path / "own.yaml").write_text("defaults:\n  - train\n  - override data: image_folder\n  - _self_\n")
    for name in (["--config-name=own"], ["-cn", "own"]):
        own = ["--config-dir", str(tmp_path), *name, "data.root=pictures", "--cfg", "job"]
        shown = multidiff("train", *own, cwd=tmp_path)
        assert yaml.safe_load(shown.stdout)["data"]["root"] == "pictures"


@pytest.mark.parametrize(
    ("arguments", "saying"),
    [
        (["trainer.max_step=3"], "To append to your config use +trainer.max_step=3"),
        (["schedule=quadratic"], "no schedule is called 'quadratic'; there are: betas_cosine"),
        (["+data.rot=1"], "rot"),
        (["resume=true"], "nothing to resume"),
        (["ema=null"], "a config group takes the name of an option, not a value"),
        (["sampler=dpm2"], "the sampler dpm2 is now called midpoint: sampler=midpoint"),
        (["schedule._target_=os.system"], "'os.system', which is not allowed"),
        (["budget=1m", "trainer.max_steps=3"], "budget and trainer.max_steps both set the length of training"),
        (["budget=30"], "budget is a time such as 90s, 30m, 2h, 1d or overnight"),
    ],
)
def test_wrong_training_settings(tmp_path, arguments, saying):
    refused("train", *TINY, "run_dir=run", *arguments, cwd=tmp_path, saying=saying)


def test_a_modality_that_no_model_gives_cannot_be_deleted(tmp_path):
    refused("train", "~modality", "run_dir=run", cwd=tmp_path, saying="modality cannot be deleted: leave ~modality out")


@pytest.mark.parametrize(
    ("arguments", "saying"),
    [
        ([], "nothing says what to train: add experiment=image/folder"),
        (["--multirun", "seed=0,1", "--dry-run"], "nothing says what to train: add experiment=image/folder"),
        (["data.root=pictures"], "data.root needs the kind of its data: add experiment=image/folder"),
        (["data.root=sounds", "experiment=finetune", "init=drums"], "the kind of its data: add data=image_folder"),
    ],
)
def test_a_folder_of_data_is_not_taken_for_digits(tmp_path, arguments, saying):
    refused("train", *arguments, "run_dir=run", cwd=tmp_path, saying=saying)


def test_an_unknown_experiment_lists_the_known_ones(tmp_path):
    refused(
        "train",
        "experiment=image/digit",
        cwd=tmp_path,
        saying="codec/audio, codec/emoji, codec/furniture, codec/image, codec/shape, finetune, image/digits",
    )


def test_an_unknown_launcher_lists_the_known_ones(tmp_path):
    refused(
        "train", "experiment=image/digits", "hydra/launcher=no", cwd=tmp_path, saying="is called 'no'; there are: basic"
    )


def test_a_value_that_is_missing_is_asked_for(tmp_path):
    refused("train", *PICTURES, cwd=tmp_path, saying="data.root must be given: data.root=VALUE")


@pytest.mark.parametrize("kind", ["absent", "empty", "file", "unreadable", "small"])
def test_unusable_data(tmp_path, monkeypatch, kind):
    """That a refusal is one line is proved by `test_one_corrupt_image_among_good_ones`."""
    monkeypatch.setenv("MULTIDIFF_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "pictures"
    if kind == "file":
        root.touch()
    elif kind != "absent":
        root.mkdir()
    if kind == "unreadable":
        (root / "broken.png").write_bytes(b"no image")
    if kind == "small":
        Image.new("RGB", (4, 5)).save(root / "small.png")
    saying = {"unreadable": "broken.png", "small": "small.png"}.get(kind, "pictures")
    config = fast_compose([*PICTURES, f"data.root={root}"])
    config.run_dir = str(tmp_path / "run")
    with pytest.raises(InputError, match=saying):
        train(config)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("allowed", "ends"), [(1, "trains"), (0, "refuses")])
def test_one_corrupt_image_among_good_ones(tmp_path, caplog, allowed, ends):
    root = tmp_path / "pictures"
    root.mkdir()
    for i in range(4):
        Image.new("RGB", (9, 9), (i, i, i)).save(root / f"{i}.png")
    (root / "corrupt.png").write_bytes((root / "0.png").read_bytes()[:40])
    arguments = (
        "train",
        *PICTURES,
        f"data.root={root}",
        "run_dir=run",
        "trainer.max_steps=1",
        f"data.max_unreadable={allowed}",
    )
    if ends == "refuses":
        refused(*arguments, cwd=tmp_path, saying="corrupt.png")
    else:
        done = multidiff(*arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "1 of 5 image files" in caplog.text
        assert "corrupt.png" in caplog.text


def test_a_step_without_memory_is_one_line(tmp_path, monkeypatch):
    """Hydra adds none of its own."""

    def step(self, batch, batch_idx):
        raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes.")

    monkeypatch.setattr(DiffusionModule, "training_step", step)
    done = multidiff("train", *TINY, "run_dir=run", cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("multidiff: not enough memory: lower")


def test_a_run_directory_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    refused("train", *TINY, "run_dir=file/run", "trainer.max_steps=1", cwd=tmp_path, saying="file/run")


NAMES = r"""Photos (2023)|写真|été|a,b|x[1]|[x]|{x}|a=b|#1|O'Brien|a"b|a&b|!x|~x|a: b|$x
back\slash|end\|quoted\'b|null|true|1e3|  spaces """


@pytest.mark.parametrize("name", re.split(r"\||\n", NAMES))
def test_a_path_may_have_any_characters(name):
    parsed = OverridesParser.create().parse_override(_quoted(f"data.root=/tmp/{name}"))
    assert parsed.value() == f"/tmp/{name}"


def test_a_path_is_taken_as_it_is_written_through_the_whole_command(tmp_path):
    folder = tmp_path / "O'Brien's (2023), a=b"
    folder.mkdir()
    for i in range(4):
        Image.new("RGB", (9, 9), (60 * i, 0, 0)).save(folder / f"{i}.png")
    done = multidiff(
        "train", *PICTURES, f"data.root={folder}", "run_dir=run [1], x", "trainer.max_steps=1", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run [1], x" / "model" / "config.yaml").is_file()
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("next: "))
    assert shlex.split(line)[1:5] == ["multidiff", "sample", "run [1], x", "-n"]


def test_a_folder_of_configs_called_data_is_no_setting_of_the_next_command():
    words = ["experiment=codec/emoji", "--config-dir", "data", "data.size=32"]
    command = _latent_training({"latent_experiment": "image/emoji"}, Path("run"), words)
    assert command == "multidiff train experiment=image/emoji data.size=32 codec.path=run run_dir=RUN"
