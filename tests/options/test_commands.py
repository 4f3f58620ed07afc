"""Every option of every command runs."""

import shlex
from collections import defaultdict
from pathlib import Path

import pytest
import torch
import typer
from PIL import Image

from multidiff.cli.main import app
from multidiff.configuration import group_options
from tests.evaluation.weights import save_clap, save_clip, save_dinov2, save_inception, save_vggish
from tests.options.commands import succeed, train
from tests.options.tiny_data import MODALITIES
from tests.sampling.short_speedup import shorten

pytestmark = pytest.mark.slow

SHORT = ("trainer.max_steps=2", "trainer.accelerator=cpu", "callbacks.previews.every=0", "loader.holdout=0.5")
TRAININGS = {
    "pictures": ("image", "image_folder", "conditioning=[label,text]"),
    "labelled": ("image", "image_folder", "conditioning=label", "callbacks=snapshots"),
    "sounds": ("audio", "audio_folder", "conditioning=[label,seconds]"),
    "shapes": ("shape", "mesh_folder", "conditioning=label"),
}
CONDITION = "--label a --label b --prompt 'a number 1'"
GUIDANCE = "--guidance 2 --guidance-rule apg --guidance-field label"
LINES = [
    f"sample pictures -n 3 {CONDITION} --sampler heun --steps 2 --seed 3 --batch-size 2 --format webp",
    f"sample pictures -n 2 {CONDITION} {GUIDANCE} --steps 2",
    "sample pictures -n 2 --label a --prompts {data}/pictures/a/0.txt --steps 2",
    f"sample pictures -n 2 {CONDITION} --init {{picture}} --strength 0.5 --steps 2",
    "sample sounds -n 1 --label a --set seconds=0.128 --init {sound} --extend 0.05 --steps 2",
    "sample labelled -n 1 --label a --negative b --guidance 2 --guidance-rule cfg_interval --steps 2 --precision auto",
    "sample labelled -n 1 --label a --steps 2 --precision bfloat16 --compile",
    "sample shapes -n 1 --label a --set points=32 --steps 2 --turntable",
    "export shapes --format ply -n 1 --label a --seed 1 --batch-size 1 --set points=true --turntable",
    f"export pictures --format png -n 2 {CONDITION}",
    "reproduce inpainted/00000.png --model {work}/pictures --init {picture} --mask {mask} --out {out}",
    f"grid pictures --steps 2 -n 2 {CONDITION} {GUIDANCE} --sampler heun --seed 1 --out {{out}}.yaml",
    "grid labelled --steps 2 -n 2 --batch-size 1 --label a --negative b --guidance 2 --guidance-rule cfg_rescaled",
    "grid sounds --steps 2 -n 2 --label a --set seconds=0.128",
    f"speedup pictures -n 2 {CONDITION} {GUIDANCE} --seed 1 --loss 0.5 --compile --out {{out}}.yaml",
    "speedup labelled -n 2 --batch-size 1 --set label=a --negative b --guidance 2 --loss 0.5",
    "ema labelled --width 0.15 --out {out}",
    "evaluate pictures --data {data}/pictures --sampler euler --steps 1 --guidance 2 --guidance-rule cfg --seed 2 "
    "--batch-size 8 --samples 20 --processes 2 --features 'encoder steps=5' --json {out}.json --report {out}.html",
    "evaluate labelled --data {data}/pictures --sweep --samples 20 --steps 1 --features 'encoder steps=5'",
    "evaluate --generated {data}/pictures --modality image --data {data}/pictures --holdout 0.5 --split-seed 1 "
    "--features 'encoder steps=5' --samples 20",
    "samplers",
    "pack pictures --out {out} --about {data}/pictures/a/0.txt --licence mit --format multidiff",
    "inspect {data}/pictures --picture {out}.png",
    "inspect pictures",
    "doctor",
]
"""`sample` and `export` get ``--out`` besides."""

ELSEWHERE = {
    "sample": {"--mask", "--out", "--prompt", "--lora"},
    "export": {"--out"},
    "reproduce": {"--lora"},
    "pack": {"--lora"},
}
"""In the fixture; LoRAs, which change pretrained pipelines, in tests/pretrained."""

FEATURES = {
    "encoder": "pictures",
    "inception": "pictures",
    "dinov2": "pictures",
    "clip": "pictures",
    "audio_encoder": "sounds",
    "vggish": "sounds",
    "clap": "sounds",
    "point_encoder": "shapes",
}
FOLDERS = {"pictures": "pictures", "sounds": "sounds", "shapes": "meshes"}
SAVED = {
    "inception": save_inception,
    "dinov2": save_dinov2,
    "clip": save_clip,
    "vggish": save_vggish,
    "clap": save_clap,
}
"""What writes the weights of the features that load them from files."""


@pytest.fixture(scope="module")
def work(data, tmp_path_factory):
    """A folder with models, and with samples that started from a picture."""
    folder = tmp_path_factory.mktemp("work")
    for name, (modality, option, *more) in TRAININGS.items():
        parts = MODALITIES[modality]
        backbone, *small = parts["backbone"][0]
        groups = [f"modality={modality}", f"data={option}", f"backbone={backbone}", f"codec={parts['codec'][-1]}"]
        train(folder, [*groups, *small, *parts["settings"], *data[option][1], *more, *SHORT, f"run_dir={name}"])
    for name in ("pictures", "sounds"):
        condition = CONDITION if name == "pictures" else "--label a --set seconds=0.128"
        succeed(folder, *shlex.split(f"sample {name} -n 2 {condition} --steps 1 --out generated_{name}"))
    with Image.open(folder / "generated_pictures" / "00000.png") as picture:
        Image.new("L", picture.size, "white").save(folder / "mask.png")
    inpainted = f"sample pictures -n 2 {CONDITION} --init {{picture}} --mask {{mask}} --steps 2 --out inpainted"
    succeed(folder, *arguments(inpainted, data))
    return folder


def arguments(line, data, **paths):
    """The words of a line, with the paths of the data."""
    root = Path(data["image_folder"][1][0].removeprefix("data.root=")).parent
    generated = {"picture": "generated_pictures/00000.png", "sound": "generated_sounds/00000.wav"}
    return [word.format(data=root, mask="mask.png", **generated, **paths) for word in shlex.split(line)]


def test_every_option_is_in_a_line():
    """`train` takes overrides; `quickstart` is run by tests of its own, and `studio` by `tests/studio`."""
    used = defaultdict(set)
    for line in LINES:
        command, *words = line.split()
        used[command] |= {word for word in words if word.startswith("-")}
    for name, command in typer.main.get_command(app).commands.items():
        if name not in ("train", "quickstart", "studio"):
            options = {option for parameter in command.params for option in parameter.opts if option[0] == "-"}
            assert used[name] | ELSEWHERE.get(name, set()) >= options, name
    assert all(
        any(f"--guidance-rule {rule} " in f"{line} " for line in LINES) for rule in group_options("guidance_rule")
    )


@pytest.mark.parametrize("line", LINES)
def test_a_command(line, data, work, tmp_path, monkeypatch):
    """Only ``sample`` compiles, which takes minutes; ``speedup --compile`` finds that it gains nothing."""
    shorten(monkeypatch)
    command = line.split()[0]
    out = "" if "{out}" in line or command not in ("sample", "export") else " --out {out}"
    with torch.compiler.set_stance("force_eager" if command == "speedup" else "default"):
        succeed(work, *arguments(line + out, data, work=work, out=tmp_path / "out"))


@pytest.mark.parametrize("name", group_options("features"))
def test_features(name, data, work, tmp_path):
    model = FEATURES[name]
    root = arguments("{data}", data)[0]
    settings = "steps=5"
    if name in SAVED:
        SAVED[name](tmp_path / "weights")
        settings = f"weights={tmp_path}/weights"
    real = ("--data", f"{root}/{FOLDERS[model]}", "--generated", f"{root}/{FOLDERS[model]}", "--samples", 20)
    modality = TRAININGS[model][0]
    succeed(work, "evaluate", *real, "--modality", modality, "--features", f"{name} {settings}", "--holdout", 0.5)
