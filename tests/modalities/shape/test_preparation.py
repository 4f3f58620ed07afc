"""Files of shapes as training samples, from folders, shards and tables."""

import logging

import datasets
import numpy as np
import pytest
import torch
import trimesh
import webdataset

from modalities.shape.modality import ShapeModality
from multidiff.data.folder import Folder, preparation_of
from multidiff.data.streaming.shards import ShardDataset
from multidiff.data.streaming.table import TableDataset
from multidiff.errors import InputError

datasets.disable_progress_bars()

SETTINGS = {"points": 100, "stored": 400}


def generator(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture
def root(tmp_path):
    for i, name in enumerate(("balls/a.glb", "balls/b.obj", "boxes/c.stl")):
        solid = trimesh.creation.icosphere(2, radius=i + 1) if "balls" in name else trimesh.creation.box((1, 2, 3))
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        solid.export(tmp_path / "root" / name)
    return tmp_path / "root"


def folder(root, modality=None, cache="cache", **settings):
    return Folder(modality or ShapeModality(6), root, cache=root.parent / cache, **{**SETTINGS, **settings})


def test_meshes_are_normalised_labelled_and_read_once(root, monkeypatch):
    dataset = folder(root)
    assert list(dataset.labels) == ["balls", "balls", "boxes"]
    assert dataset.shape == (6, 100)
    for i in range(3):
        points = dataset.store[i][:, :3]
        assert np.allclose(points.max(axis=0) + points.min(axis=0), 0, atol=1e-6)
        assert np.isclose(np.ptp(points, axis=0).max(), 2)
    monkeypatch.setattr("modalities.shape.preparation.read_geometry", lambda file: pytest.fail(f"{file} is read again"))
    assert torch.equal(folder(root).data(1, generator()), dataset.data(1, generator()))


def test_every_sample_is_a_random_subset_of_the_stored_points(root):
    dataset = folder(root)
    first, second = (dataset.data(0, generator(seed)) for seed in (0, 1))
    assert (first.shape, first.dtype) == ((6, 100), torch.float32)
    assert not torch.equal(first, second)
    assert torch.equal(first, dataset.data(0, generator(0)))
    stored = {tuple(row) for row in dataset.store[0].tolist()}
    assert len({tuple(row) for row in first.T.tolist()} & stored) == 100


def test_shapes_are_sampled_independently_and_reproducibly(tmp_path):
    """With one seed for all, these two would be the same points in two sizes, and so the same sample."""
    (tmp_path / "root").mkdir()
    for radius in (1, 2):
        trimesh.creation.icosphere(2, radius=radius).export(tmp_path / f"root/{radius}.stl")
    dataset, again = (folder(tmp_path / "root", cache=name) for name in "ab")
    assert not np.allclose(dataset.store[0], dataset.store[1], atol=0.1)
    assert np.array_equal(again.store[0], dataset.store[0])


def test_content_changes_with_everything_that_a_model_learns(root):
    first = folder(root).content
    assert folder(root).content == first
    changes = ({"points": 50}, {"stored": 401}, {"up": "z"}, {"modality": ShapeModality(6, "unit_sphere")})
    assert len({first, *(folder(root, **change).content for change in changes)}) == 5
    (root / "metadata.jsonl").write_text('{"file_name": "balls/a.glb", "text": "a ball"}\n')
    captioned = folder(root).content
    (root / "boxes").rename(root / "cubes")
    assert len({first, captioned, folder(root).content}) == 3


def test_up_turns_the_shapes_upright(root):
    tall = folder(root, up="z").store[2]
    assert np.argmax(np.ptp(tall[:, :3], axis=0)) == 1
    assert np.argmax(np.ptp(folder(root).store[2][:, :3], axis=0)) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"points": 0}, r"data\.points is from 1 to data\.stored=400"),
        ({"points": 401}, r"data\.points is from 1 to data\.stored=400"),
        ({"up": "x"}, "up is one of y, z, not 'x'"),
        ({"size": 8}, "size"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        preparation_of(ShapeModality(3), {**SETTINGS, **settings})


def test_modelnets_layout(tmp_path):
    (tmp_path / "net/chair/train").mkdir(parents=True)
    trimesh.creation.box().export(tmp_path / "net/chair/train/chair_0001.off")
    dataset = folder(tmp_path / "net", split="train", up="z")
    assert list(dataset.labels) == ["chair"]
    with pytest.raises(InputError, match="holds no CLASS/test/FILE"):
        folder(tmp_path / "net", split="test")


def test_pointflows_layout(tmp_path):
    for synset in ("02691156", "03001627"):
        (tmp_path / "net" / synset / "train").mkdir(parents=True)
        np.save(tmp_path / "net" / synset / "train" / "a.npy", generator().normal(size=(500, 3)))
    modality, settings = ShapeModality(3, normalisation="none"), {"split": "train", "stored": 500}
    dataset = folder(tmp_path / "net", modality, **settings)
    assert list(dataset.labels) == ["02691156", "03001627"]
    points = np.load(tmp_path / "net/02691156/train/a.npy").astype(np.float32)
    assert np.array_equal(np.sort(dataset.store[0], axis=0), np.sort(points, axis=0))
    with pytest.raises(InputError, match=r"a\.npy: has no normals, .* set modality\.channels=3"):
        folder(tmp_path / "net", **settings)


def test_all_of_the_points_of_a_small_file_are_kept(tmp_path):
    (tmp_path / "root").mkdir()
    for count in (150, 400, 99):
        np.save(tmp_path / "root" / f"{count}.npy", generator().normal(size=(count, 3)))
    dataset = folder(tmp_path / "root", ShapeModality(3), stored=300)
    assert [len(dataset.store[i]) for i in range(2)] == [150, 300]
    assert [dataset.data(i, generator()).shape for i in range(2)] == [(3, 100)] * 2
    assert dataset.store.skipped == {2: "has 99 points, fewer than data.points=100, which a sample needs"}
    assert len(folder(tmp_path / "root", ShapeModality(3), stored=300, points=99)) == 3
    assert len(folder(tmp_path / "root", ShapeModality(3), stored=300, points=200)) == 1


def test_remarks_name_sizes_that_differ_greatly_and_count_dropped_faces(root, caplog):
    with caplog.at_level(logging.WARNING):
        folder(root)
    assert not caplog.records
    trimesh.creation.box((1000, 1, 1)).export(root / "boxes/huge.stl")
    (root / "boxes/flat.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\nf 1 2 2\nf 3 3 3\n")
    with caplog.at_level(logging.WARNING):
        folder(root)
    assert "longest sides range from 1 (flat.obj) to 1e+03 (huge.stl)" in caplog.text
    assert "2 degenerate faces were dropped, in 1 files" in caplog.text
    messages = caplog.messages.copy()
    folder(root)
    assert caplog.messages == messages * 2


def test_remarks_name_meshes_that_are_inside_out_or_have_doubled_faces(root, caplog):
    solid = trimesh.creation.box((1, 2, 3))
    solid.invert()
    for i in range(4):
        solid.apply_scale(1.5)
        solid.export(root / f"boxes/inverted{i}.stl")
    faces = np.concatenate([solid.faces, solid.faces[:3, ::-1]])
    trimesh.Trimesh(solid.vertices, faces, process=False).export(root / "boxes/double.obj")
    with caplog.at_level(logging.WARNING):
        folder(root)
    assert "turned outwards: inverted0.stl, inverted1.stl, inverted2.stl and 1 more" in caplog.text
    assert "opposite faces, whose normals point both ways: double.obj" in caplog.text


def test_unusable_files_are_left_out_and_named(root, caplog):
    (root / "boxes/broken.stl").write_bytes(b"no mesh")
    assert len(folder(root)) == 3
    assert "1 of 4 shape files" in caplog.text
    assert "broken.stl" in caplog.text
    with pytest.raises(InputError, match=r"set data\.max_unreadable to at least 1"):
        folder(root, max_unreadable=0)


@pytest.fixture
def members(root):
    """The paths of the files, in the order of a folder."""
    return sorted(path for path in root.rglob("*") if path.is_file())


def test_shards_give_the_samples_of_the_folder(root, members, tmp_path):
    with webdataset.TarWriter(str(tmp_path / "000.tar")) as tar:
        for path in members:
            content, label = path.read_bytes(), path.parent.name
            tar.write({"__key__": path.stem, path.suffix[1:]: content, "cls": label, "txt": f"a {label}"})
    modality = ShapeModality(6)
    shards = ShardDataset(modality, str(tmp_path / "000.tar"), cache=tmp_path / "cache", **SETTINGS)
    assert list(shards.labels) == ["balls", "balls", "boxes"]
    assert shards.facts(2)["caption"] == "a boxes"
    expected = folder(root)
    assert all(torch.equal(shards.data(i, generator()), expected.data(i, generator())) for i in range(3))


def test_a_table_gives_the_samples_of_the_folder(root, members, tmp_path):
    rows = {
        "mesh": [{"bytes": path.read_bytes(), "path": path.name} for path in members],
        "label": [path.parent.name for path in members],
    }
    datasets.Dataset.from_dict(rows).save_to_disk(tmp_path / "table")
    table = TableDataset(ShapeModality(6), tmp_path / "table", "mesh", cache=tmp_path / "cache", **SETTINGS)
    assert list(table.labels) == ["balls", "balls", "boxes"]
    expected = folder(root)
    assert all(torch.equal(table.data(i, generator()), expected.data(i, generator())) for i in range(3))
