"""Open hostile files in a process where whatever they might lead to is a trap; for tests/test_hostile.py."""

import ctypes
import importlib
import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import torch
import trimesh
import yaml
from PIL import Image

from modalities.image.modality import ImageModality
from modalities.shape.files import read_geometry
from multidiff.cli import export
from multidiff.data.scan import find_entries
from multidiff.errors import InputError
from multidiff.evaluation.evaluated import EvaluatedFiles
from multidiff.sampling.model_directory import load
from multidiff.sampling.reproduce import reproduce_samples
from multidiff.sampling.samples import write_record, write_samples
from multidiff.training.origin import adopted
from tests.tiny import tiny_train
from tests.traps import Traps

SECRET = "hunter2"
URL = "http://127.0.0.1:9/leak"
LURE = "multidiff_lure"
"""A module that nothing else imports. It imports another: Python does not tell of what `importlib` alone imports."""


class Evil:
    """Starts a process when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, ("true",)


def gadgets(private: Path) -> list[Any]:
    """Values that a config should not be able to hold."""
    call = {"_args_": ["true"]}
    return [
        {"_target_": "os.system", "command": "true"},
        {"_target_": "os.system", **call, "_partial_": True},
        {"_target_": "subprocess.Popen", "args": ["true"]},
        {"_target_": "builtins.eval", "_args_": ["__import__('os').system('true')"]},
        {"_target_": "builtins.open", "_args_": [str(private / "made"), "w"]},
        {"_target_": "importlib.import_module", "name": LURE},
        {"_target_": "hydra.utils.instantiate", "config": {"_target_": "os.system", **call}},
        {"_target_": "multidiff.configuration.build.importlib.import_module", "name": LURE},
        {"_target_": "multidiff.data.files.sha256", "path": str(private / "secret.png")},
        {"_target_": "multidiff.data.streaming.shards.ShardDataset", "shards": f"{URL}.tar"},
        {"_target_": "multidiff.data.streaming.table.TableDataset", "root": URL, "column": "image"},
        {"_target_": "multidiff.data.folder.Folder", "root": str(private), "cache": str(private / "cache"), "size": 1},
        {"_target_": "lightning.pytorch.loggers.TensorBoardLogger", "save_dir": str(private)},
        "${oc.env:SECRET}",
        "${oc.create:{_target_: os.system, _args_: [true]}}",
    ]


def changed(config: dict[str, Any], values: list[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """``config`` with each value instead of each of its objects; in the settings of each object, the values in turn."""
    turns = cycle(range(len(values)))
    for path, node in objects(config):
        for number, value in enumerate(values):
            yield f"{'.'.join(path)} {number}", replaced(config, path, value)
        for key in (*list(node)[:2], "extra", "extra"):
            number = next(turns)
            yield f"{'.'.join(path)}.{key} {number}", replaced(config, (*path, key), values[number])


def replaced(config: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """``config`` with ``value`` at ``path``."""
    first, *rest = path
    return {**config, first: replaced(config[first], tuple(rest), value) if rest else value}


def objects(config: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """The parts of a config that describe objects."""
    for key, value in config.items():
        if isinstance(value, dict):
            if "_target_" in value:
                yield (*path, key), value
            yield from objects(value, (*path, key))


Attempts = Iterator[tuple[str, Callable[[], Any]]]


def sampled(run: Path, folder: Path) -> dict[str, Any]:
    """The record of a folder with a sample of the model."""
    pipeline = load(run, "cpu")
    plan = pipeline.plan(1, steps=1)
    record = {**plan.record(), "model": str(run)}
    written, _ = write_samples(pipeline.modality, enumerate(plan.stream()), record, folder, ".png")
    write_record(pipeline.modality, written, record, folder)
    return json.loads((folder / "samples.json").read_text())


def models(run: Path, scratch: Path, private: Path) -> Attempts:
    """Configs of models, and weights that are pickles."""
    model = shutil.copytree(run / "model", scratch / "model")
    config = yaml.safe_load((model / "config.yaml").read_text())
    for name, hostile in changed(config, gadgets(private)):
        (model / "config.yaml").write_text(yaml.safe_dump(hostile))
        yield f"model {name}", lambda: (load(model, "cpu").plan(1), adopted({"init": str(model)}, None))
    config.pop("weights_sha256")
    (model / "config.yaml").write_text(yaml.safe_dump(config))
    torch.save({"weights": Evil()}, model / "model.safetensors")
    yield "weights by torch.save", lambda: load(model, "cpu")
    (model / "model.safetensors").write_bytes(pickle.dumps(Evil()))
    yield "weights by pickle", lambda: load(model, "cpu")


def samplers(run: Path, scratch: Path, private: Path) -> Attempts:
    """Sampler files."""
    pipeline, path = load(run, "cpu"), scratch / "sampler.yaml"
    for name, hostile in changed(dict(pipeline.sampler), gadgets(private)):
        path.write_text(yaml.safe_dump(hostile))
        yield f"sampler {name}", lambda: pipeline.plan(1, sampler=str(path))


def records(run: Path, scratch: Path, private: Path) -> Attempts:
    """Folders of samples, and a file with a plan inside."""
    folder = scratch / "samples"
    good = sampled(run, folder)
    uses = {
        "export": lambda: export.run(folder, scratch / "out", "png", {}),
        "evaluate": lambda: EvaluatedFiles(folder, None),
        "reproduce": lambda: reproduce_samples(folder),
    }
    for file in ("../../private/secret.png", str(private / "secret.png"), "link.png", "/dev/stdin"):
        if file == "link.png":
            (scratch / file).rename(folder / file)
        (folder / "samples.json").write_text(json.dumps({**good, "files": [{**good["files"][0], "file": file}]}))
        yield from ((f"record of {file}: {name}", use) for name, use in uses.items())
    for name, hostile in changed({"modality": good["modality"]}, gadgets(private)):
        (folder / "samples.json").write_text(json.dumps({**good, **hostile}))
        yield from ((f"record {name}: {use_name}", use) for use_name, use in uses.items())
    for name, hostile in changed({"sampler": good["sampler"]}, gadgets(private)):
        ImageModality(1).write(Image.new("L", (8, 8)), scratch / "plan.png", {**good, **hostile, "index": 0})
        yield f"plan in a file {name}", lambda: reproduce_samples(scratch / "plan.png", run)


def runs(run: Path, scratch: Path, private: Path) -> Attempts:
    """Runs to be resumed: their configs and their checkpoints."""
    resume = ("trainer.max_steps=2", "resume=true")
    config = yaml.safe_load((run / "config.yaml").read_text())
    place = shutil.copytree(run, scratch / "stranger")
    for number, value in enumerate(gadgets(private)[::6]):
        (place / "config.yaml").write_text(yaml.safe_dump({**config, "backbone": value}))
        yield f"run {number}", lambda: tiny_train(place, *resume)
    (place / "config.yaml").write_text(yaml.safe_dump(config))
    (checkpoint,) = (place / "checkpoints").glob("step_*.ckpt")
    good = torch.load(checkpoint, weights_only=True)
    torch.save({**good, "callbacks": Evil()}, checkpoint)
    yield "checkpoint with a pickle", lambda: tiny_train(place, *resume)
    checkpoint.write_bytes(pickle.dumps({**dict.fromkeys(good), "callbacks": Evil()}))
    yield "checkpoint that is a pickle", lambda: tiny_train(place, *resume)
    with ZipFile(checkpoint, "w") as archive:
        archive.writestr("../../private/data.pkl", pickle.dumps(Evil()))
        archive.writestr("archive/data.pkl", pickle.dumps(Evil()))
        archive.writestr("archive/version", "3")
    yield "checkpoint with names that lead out", lambda: tiny_train(place, *resume)


def data(run: Path, scratch: Path, private: Path) -> Attempts:
    """Names in metadata and in glTF."""
    folder = scratch / "data"
    folder.mkdir()
    Image.new("L", (8, 8)).save(folder / "a.png")
    for name in ("../../private/secret.png", str(private / "secret.png")):
        (folder / "metadata.jsonl").write_text(json.dumps({"file_name": name, "text": "x"}))
        yield f"metadata of {name}", lambda: find_entries(folder, (".png",), "image")
    for uri in (
        "../../private/secret.png",
        str(private / "secret.png"),
        f"{URL}.bin",
        (private / "secret.png").as_uri(),
    ):
        scene = {"asset": {"version": "2.0"}, "buffers": [{"uri": uri, "byteLength": 8}]}
        (folder / "a.gltf").write_text(json.dumps(scene))
        yield f"glTF with the buffer {uri}", lambda: read_geometry(folder / "a.gltf")


def controls(private: Path) -> dict[str, Callable[[], Any]]:
    """What has to spring each trap."""
    return {
        "os.system": lambda: os.system("true"),
        "subprocess.Popen": lambda: subprocess.run(["true"], check=False),
        "os.exec": lambda: os.execv("/bin/true", ["true"]),
        "os.fork": os.fork,
        "os.posix_spawn": lambda: os.posix_spawn("/bin/true", ["true"], {}),
        "socket.getaddrinfo": lambda: socket.getaddrinfo("localhost", 80),
        "socket.connect": lambda: socket.create_connection(("127.0.0.1", 9)),
        "ctypes.dlopen": lambda: ctypes.CDLL("libc.so.6"),
        "import": lambda: importlib.import_module(LURE),
        "pickle.find_class": lambda: pickle.loads(pickle.dumps(Evil())),
        "open to write": lambda: (private / "made").open("w"),
        "open to read": (private / "secret.png").read_bytes,
        "os.rename": lambda: (private / "secret.png").rename(private / "b"),
        "os.remove": (private / "secret.png").unlink,
        "os.mkdir": (private / "made").mkdir,
        "shutil.rmtree": lambda: shutil.rmtree(private),
    }


def outcome(attempt: Callable[[], Any]) -> str:
    """``refused``, or what else became of it."""
    try:
        attempt()
    except InputError as error:
        return f"told {SECRET}" if SECRET in str(error) else "refused"
    except BaseException as error:  # noqa: BLE001  a trap that sprang is one, and the test prints it
        return f"{type(error).__name__}: {error}"[:300]
    return "accepted"


def warm_up(run: Path, folder: Path) -> None:
    """Import what is imported at first use, by the same work on good files."""
    sampled(run, folder)
    reproduce_samples(folder / "00000.png")
    export.run(folder, folder / "out", "png", {})
    trimesh.creation.box().export(folder / "box.gltf")
    read_geometry(folder / "box.gltf")


def attempted(folder: Path) -> dict[str, Any]:
    """What became of each attempt, which traps sprang meanwhile, and which spring when they should.

    This process is of no use afterwards.
    """
    scratch, private = folder / "scratch", folder / "private"
    scratch.mkdir()
    private.mkdir()
    (scratch / f"{LURE}.py").write_text(f"import {LURE}d\n")
    (scratch / f"{LURE}d.py").touch()
    sys.path.append(str(scratch))
    Image.new("L", (8, 8)).save(private / "secret.png")
    (scratch / "link.png").symlink_to(private / "secret.png")
    os.environ["SECRET"] = SECRET
    os.environ["TMPDIR"] = tempfile.tempdir = str(scratch)
    torch.set_num_threads(1)  # the threads of the parent are not here
    run = scratch / "run"
    tiny_train(run, "trainer.max_steps=1")
    warm_up(run, scratch / "warm")
    traps = Traps(scratch, private)
    kinds = (models, samplers, records, runs, data)
    attempts = {name: outcome(attempt) for kind in kinds for name, attempt in kind(run, scratch, private)}
    sprung = list(traps.sprung)
    working = {name: outcome(control).startswith("SprungError") for name, control in controls(private).items()}
    return {"attempts": attempts, "sprung": sprung, "controls": working}
