"""Imports run one way, in the order of the rooms; modalities import multidiff."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = {
    "multidiff": {"modalities", "torchaudio", "librosa", "trimesh", "soundfile"},
    "multidiff/diffusion": {"lightning", "hydra", "omegaconf", "numpy", "PIL", "yaml", "safetensors"},
    "multidiff/nn": {"lightning", "hydra", "omegaconf"},
    "multidiff/conditioners": {"lightning", "hydra", "omegaconf"},
    "modalities/image": {"torchaudio", "librosa", "trimesh", "soundfile"},
}
ORDER = (
    ("errors", "diffusion"),
    ("nn",),
    ("bundled", "plugins"),
    ("configuration", "modality"),
    ("data",),
    ("weights",),
    ("codecs", "conditioners"),
    ("model",),
    ("pretrained",),
    ("sampling",),
    ("evaluation",),
    ("training",),
    ("studio",),
    ("cli",),
)
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}
"""A room imports only from rooms before it."""


@cache
def imports(path):
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
    return names


def sources(folder):
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_foreign_packages_stay_where_they_belong(folder):
    found = {(path.name, name) for path in sources(folder) for name in imports(path)}
    assert not {(path, name) for path, name in found if name.split(".")[0] in FORBIDDEN[folder]}


def room(name):
    return name.removeprefix("multidiff.").split(".")[0]


def test_no_arrow_runs_back():
    back = {}
    for path in sources("multidiff"):
        home = path.relative_to(ROOT / "multidiff").with_suffix("").parts[0]
        own = {room(name) for name in imports(path) if name.startswith("multidiff.")} - {home}
        if home != "__init__" and (later := {name for name in own if RANK[name] >= RANK[home]}):
            back[path.relative_to(ROOT).as_posix()] = later
    assert back == {}


def test_the_root_holds_only_what_the_layout_names():
    rooms = {
        path.stem for path in (ROOT / "multidiff").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert rooms - {"__init__"} == set(RANK)


def test_only_the_command_line_and_training_know_lightning():
    users = {
        path.relative_to(ROOT).parts[1]
        for path in sources("multidiff")
        for name in imports(path)
        if "lightning" in name
    }
    assert users == {"training"}


def test_only_configuration_and_the_command_line_know_hydra():
    users = {
        path.relative_to(ROOT).as_posix()
        for path in sources("multidiff")
        for name in imports(path)
        if name.split(".")[0] == "hydra"
    }
    assert users == {"multidiff/configuration/composition.py", "multidiff/cli/main.py", "multidiff/cli/train.py"}


def test_only_the_studio_knows_gradio():
    users = {
        path.relative_to(ROOT).parts[1]
        for path in sources("multidiff")
        for name in imports(path)
        if name.split(".")[0] == "gradio"
    }
    assert users == {"studio"}


@pytest.mark.parametrize("metric", ["frechet", "kernel", "manifold", "diversity", "classification", "memorisation"])
def test_a_metric_knows_features_alone(metric):
    own = {"multidiff.evaluation.blocks", "multidiff.evaluation.neighbours", "torch", "torch.nn.functional"}
    used = set(imports(ROOT / "multidiff" / "evaluation" / f"{metric}.py"))
    assert used <= own | {"collections.abc", "dataclasses", "functools"}


@pytest.mark.slow
def test_sampling_images_imports_neither_other_modalities_nor_what_takes_seconds():
    script = "import sys, multidiff.sampling.pipeline, modalities.image.modality; print(list(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    slow = {"lightning", "hydra", "rich", "skimage", "scipy.signal", "torch._dynamo"}
    assert not (FORBIDDEN["modalities/image"] | slow) & set(ast.literal_eval(loaded))


STUDIO = """
import ast, sys
from multidiff.studio.opening import import_gradio
parse, callers = ast.parse, set()
def counted(*arguments, **settings):
    callers.add(sys._getframe(1).f_globals["__name__"])
    return parse(*arguments, **settings)
ast.parse = counted
import_gradio()
import multidiff.studio.server
print([*sys.modules, *(f"parsed in {name}" for name in callers)])
"""


@pytest.mark.slow
def test_the_studio_opens_without_what_only_training_and_reports_need_and_without_stubs_of_gradio():
    loaded = subprocess.run([sys.executable, "-c", STUDIO], capture_output=True, text=True, check=True).stdout
    assert not {"lightning", "hydra", "matplotlib", "parsed in gradio.component_meta"} & set(ast.literal_eval(loaded))


@pytest.mark.parametrize("folder", ["multidiff", "modalities"])
def test_files_hold_one_idea(folder):
    long = {path.name: count for path in sources(folder) if (count := len(path.read_text().splitlines())) > 300}
    assert not long
