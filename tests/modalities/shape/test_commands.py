"""Training for a few steps, sampling and exporting shapes by the commands."""

import json

import numpy as np
import pytest
import trimesh
from PIL import Image
from scipy.spatial import cKDTree

from modalities.shape.cloud import PointCloud
from modalities.shape.files import read_geometry, write_cloud
from modalities.shape.surface import Reconstruction
from multidiff import load
from multidiff.errors import InputError
from tests.cli.command import multidiff, refused
from tests.modalities.shape.test_surface import SOLIDS, points_of

SMALL = (
    "data.points=128",
    "data.stored=256",
    "backbone.width=16",
    "backbone.latents=4",
    "backbone.latent_width=40",
    "backbone.rounds=1",
    "backbone.head_size=8",
    "loader.batch_size=4",
    "loader.workers=0",
    "trainer.max_steps=2",
    "callbacks.previews.every=0",
    "trainer.accelerator=cpu",
)


def record(*names):
    """The record of samples in PLY files of these names."""
    files = [{"file": f"{name}.ply", "index": index, "fields": {}} for index, name in enumerate(names)]
    return {"modality": {"_target_": "modalities.shape.modality.ShapeModality", "channels": 6}, "files": files}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("shapes")
    done = multidiff("train", "experiment=shape/furniture", "data.count=16", "run_dir=run", *SMALL, cwd=home)
    assert done.returncode == 0, done.stderr
    return home


def test_a_trained_model_is_sampled_and_its_samples_exported(home):
    request = ("sample", "run", "-n", 2, "--label", "mug", "--steps", 2)
    done = multidiff(*request, "--out", "samples", cwd=home)
    assert done.returncode == 0, done.stderr
    done = multidiff("reproduce", "samples/00001.ply", cwd=home)
    assert done.returncode == 0, done.stderr
    assert "equal" in done.stdout
    done = multidiff(
        "export", "samples", "--format", "npz", "--set", "points=true", "--turntable", "--out", "points", cwd=home
    )
    assert done.returncode == 0, done.stderr
    assert [report["points"] for report in json.loads((home / "points/report.json").read_text())] == [128, 128]
    assert Image.open(home / "points/turntable.webp").n_frames > 1


def test_known_shapes_are_exported_as_watertight_files(home):
    (home / "known").mkdir()
    write_cloud(points_of(SOLIDS["torus"]), home / "known/torus.ply", {})
    (home / "known/samples.json").write_text(json.dumps(record("torus")))
    arguments = ("export", "known", "--format", "glb", "--set", "resolution=64", "--out", "meshes")
    done = multidiff(*arguments, cwd=home)
    assert done.returncode == 0, done.stderr
    assert trimesh.load_mesh(home / "meshes/torus.glb").is_watertight
    refused(*arguments, cwd=home, saying="not an empty folder")
    refused("export", "known", "--format", "fbx", "--out", "no", cwd=home, saying="supported: .glb, .obj, .ply")
    refused(*arguments[:-2], "--set", "face=9", "--out", "no", cwd=home, saying="face: not an export setting of shapes")


def test_a_model_generates_any_number_of_points(home):
    request = ("sample", "run", "-n", 1, "--steps", 1, "--turntable", "--out")
    done = multidiff(*request, "many", "--set", "points=300", cwd=home)
    assert done.returncode == 0, done.stderr
    assert len(read_geometry(home / "many/00000.ply")) == 300
    assert Image.open(home / "many/turntable.webp").n_frames > 1
    refused(*request, "none", "--set", "points=0", cwd=home, saying="at least 1, not 0")


def test_a_partial_shape_is_completed_by_the_command(home):
    part = points_of(SOLIDS["sphere"], 100)
    write_cloud(part, home / "part.ply", {})
    request = ("sample", "run", "-n", 1, "--steps", 1, "--init", "part.ply")
    done = multidiff(*request, "--mask", 0.5, "--out", "whole", cwd=home)
    assert done.returncode == 0, done.stderr
    whole = read_geometry(home / "whole/00000.ply")
    kept = cKDTree(part.points).query(whole.points)[0] < 1e-5
    assert (len(whole), kept.sum()) == (128, 64)
    refused(*request, "--mask", "left", "--out", "no", cwd=home, saying="a number such as 0.5, not 'left'")
    refused(*request, "--mask", 1, "--out", "no", cwd=home, saying="between 0 and 1")
    refused(*request, "--mask", 0.9999, "--out", "no", cwd=home, saying="128 points leaves none to keep")


def test_formats_that_are_only_read_are_refused(home):
    refused("sample", "run", "-n", 1, "--format", "gltf", "--out", "no", cwd=home, saying="it writes: .ply, .npz, .glb")


def test_sampling_continues_after_a_shape_without_a_surface(home, monkeypatch):
    original = Reconstruction.mesh
    seen = []

    def fails_once(self, cloud):
        seen.append(cloud)
        if len(seen) == 1:
            raise InputError("no surface is found")
        return original(self, points_of(SOLIDS["sphere"], 512))

    monkeypatch.setattr(Reconstruction, "mesh", fails_once)
    request = ("sample", "run", "--steps", 1, "--format", "stl", "--out")
    done = multidiff(*request, "rest", "-n", 2, cwd=home)
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)
    assert "1 of 2 samples were not written: 00000.stl: no surface is found" in done.stderr
    assert {path.name for path in (home / "rest").iterdir()} == {"00001.stl", "preview.png", "samples.json"}
    seen.clear()
    refused(*request, "none", "-n", 1, cwd=home, saying="none of 1 samples could be written: 00000.stl: no surface")


def test_export_continues_after_a_shape_without_a_surface(home):
    folder, sphere = home / "mixed", points_of(SOLIDS["sphere"], 512)
    scattered = PointCloud(sphere.points, np.random.default_rng(0).normal(size=(512, 3)))
    for name, cloud in {"a": scattered, "c": sphere}.items():
        folder.mkdir(exist_ok=True)
        write_cloud(cloud, folder / f"{name}.ply", {})
    (folder / "b.ply").write_bytes(b"no points")
    (folder / "samples.json").write_text(json.dumps(record(*"abc")))
    arguments = ("export", "mixed", "--format", "stl", "--set", "resolution=32")
    done = multidiff(*arguments, "--out", "good", cwd=home)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "2 of 3 samples were not exported: a: no surface is found" in done.stderr
    assert {path.name for path in (home / "good").iterdir()} == {"c.stl", "report.json"}
    report = json.loads((home / "good/report.json").read_text())
    assert [entry.get("sample") for entry in report] == [None, "a", "b"]
    (folder / "samples.json").write_text(json.dumps(record(*"ab")))
    refused(*arguments, "--out", "bad", cwd=home, saying="none of 2 samples")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.obj", b""),
        ("flat.obj", b"v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n"),
        ("nan.obj", b"v 0 0 0\nv nan 0 0\nv 0 1 0\nf 1 2 3\n"),
        ("text.stl", b"hello"),
        ("bare.gltf", b'{"asset": {"version": "2.0"}, "scenes": [{"nodes": []}], "scene": 0}'),
    ],
)
def test_an_unusable_mesh_is_one_line(tmp_path, name, content):
    (tmp_path / "meshes").mkdir()
    (tmp_path / "meshes" / name).write_bytes(content)
    refused("train", "experiment=shape/mesh_folder", "data.root=meshes", "run_dir=b", *SMALL, cwd=tmp_path, saying=name)


@pytest.mark.parametrize("kind", ["mesh_folder", "modelnet", "shapenet"])
def test_every_data_config_of_folders_trains_a_model(tmp_path, kind):
    root = tmp_path / "shapes"
    for name, solid in SOLIDS.items():
        folder = root if kind == "mesh_folder" else root / name / "train"
        folder.mkdir(parents=True, exist_ok=True)
        if kind == "shapenet":
            np.save(folder / "a.npy", points_of(solid, 300).points)
        else:
            solid.export(folder / f"{name}.{'off' if kind == 'modelnet' else 'glb'}")
    experiment = {"modelnet": ["experiment=shape/mesh_folder", "data=modelnet", "conditioning=[label]"]}
    settings = [*experiment.get(kind, [f"experiment=shape/{kind}"]), f"data.root={root}", "run_dir=run", *SMALL]
    if kind == "shapenet":
        settings.append("data.stored=300")
    done = multidiff("train", *settings, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    if kind != "mesh_folder":
        (label,) = load(tmp_path / "run").model.conditioner
        assert set(label.choices) == set(SOLIDS)


def test_a_missing_folder_is_one_line(tmp_path):
    refused("train", "experiment=shape/mesh_folder", "data.root=no", "run_dir=b", *SMALL, cwd=tmp_path, saying="no")


def test_the_plain_backbone_trains(home):
    plain = [setting for setting in SMALL if not setting.startswith("backbone.")]
    sizes = ("backbone=points_plain", "backbone.width=40", "backbone.depth=1", "backbone.head_size=8")
    arguments = ("train", "experiment=shape/furniture", "data.count=16", "run_dir=plain", *plain, *sizes)
    done = multidiff(*arguments, cwd=home)
    assert done.returncode == 0, done.stderr
