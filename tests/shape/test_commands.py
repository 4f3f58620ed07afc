"""Train a few steps, sample, export: what a user does with shapes."""

import json

import pytest
import trimesh
from PIL import Image

from multidiff import load
from tests.shape.test_surface import SOLIDS, points_of
from tests.test_cli import multidiff, refused

SMALL = (
    "data.points=128",
    "data.stored=256",
    "backbone.width=16",
    "backbone.latents=4",
    "backbone.latent_width=16",
    "backbone.rounds=1",
    "backbone.head_size=8",
    "loader.batch_size=4",
    "loader.workers=0",
    "trainer.max_steps=2",
    "callbacks.previews.every=0",
    "trainer.accelerator=cpu",
)


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
    assert (home / "samples/00001.ply").exists()
    done = multidiff("export", "samples", "--format", "npz", "--points", "--turntable", "--out", "points", cwd=home)
    assert done.returncode == 0, done.stderr
    assert [report["points"] for report in json.loads((home / "points/report.json").read_text())] == [128, 128]
    assert Image.open(home / "points/turntable.webp").n_frames > 1


def test_known_shapes_become_watertight_files_by_the_command(home):
    (home / "known").mkdir()
    pipeline = load(home / "run")
    pipeline.modality.write(points_of(SOLIDS["torus"]), home / "known/torus.ply", {})
    config = {"_target_": "modalities.shape.modality.ShapeModality", "channels": 6}
    (home / "known/samples.json").write_text(json.dumps({"modality": config, "files": [{"file": "torus.ply"}]}))
    arguments = ("export", "known", "--format", "glb", "--resolution", 64, "--out", "meshes")
    done = multidiff(*arguments, cwd=home)
    assert done.returncode == 0, done.stderr
    assert trimesh.load_mesh(home / "meshes/torus.glb").is_watertight
    refused(*arguments, cwd=home, saying="not an empty folder")
    refused("export", "known", "--format", "fbx", "--out", "no", cwd=home, saying="as .glb, .obj, .ply")


def test_a_model_makes_any_number_of_points(home):
    pipeline = load(home / "run")
    pipeline.shape = (6, 300)
    (cloud,) = pipeline.sample(1, steps=2)
    assert len(cloud) == 300


def test_meshes_in_a_folder_train_a_model(tmp_path):
    (tmp_path / "meshes").mkdir()
    for name, solid in SOLIDS.items():
        solid.export(tmp_path / "meshes" / f"{name}.glb")
    done = multidiff("train", "experiment=shape/mesh_folder", "data.root=meshes", "run_dir=run", *SMALL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    refused("train", "experiment=shape/mesh_folder", "data.root=no", "run_dir=b", *SMALL, cwd=tmp_path, saying="no")
