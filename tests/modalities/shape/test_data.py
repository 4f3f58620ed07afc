import logging

import numpy as np
import pytest
import torch
import trimesh

from modalities.shape.data import Furniture, MeshFolder, ShapeNetPoints
from modalities.shape.furniture import LABELS
from modalities.shape.modality import ShapeModality
from multidiff.errors import InputError


def generator(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture
def root(tmp_path):
    for i, name in enumerate(("balls/a.glb", "balls/b.obj", "boxes/c.stl")):
        solid = trimesh.creation.icosphere(2, radius=i + 1) if "balls" in name else trimesh.creation.box((1, 2, 3))
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        solid.export(tmp_path / "root" / name)
    return tmp_path / "root"


def folder(root, modality=None, **settings):
    return MeshFolder(modality or ShapeModality(6), root, 100, stored=400, cache=root.parent / "cache", **settings)


def test_furniture_is_labelled_captioned_and_at_unit_deviation(tmp_path):
    dataset = Furniture(ShapeModality(9), 256, 16, stored=512, cache=tmp_path)
    assert dataset.label_names == LABELS
    for label, caption in zip(dataset.labels, dataset.captions, strict=True):
        assert LABELS[label] in caption
    together = torch.cat([dataset.x0(i, generator(i)) for i in range(16)], dim=1)
    assert together.shape == (9, 16 * 256)
    assert together.dtype == torch.float32
    deviations = together.reshape(3, 3, -1).square().mean(dim=(1, 2)).sqrt()
    torch.testing.assert_close(deviations, torch.ones(3), rtol=0.05, atol=0)


def test_every_look_draws_other_points_of_the_same_shape(tmp_path):
    dataset = Furniture(ShapeModality(3), 64, 2, stored=512, cache=tmp_path)
    assert not torch.equal(dataset.x0(0, generator(0)), dataset.x0(0, generator(1)))
    assert torch.equal(dataset.x0(0, generator(0)), dataset.x0(0, generator(0)))


def test_furniture_can_be_of_some_classes_but_not_of_unknown_ones(tmp_path):
    assert Furniture(ShapeModality(3), 16, 4, labels=["mug"], stored=64, cache=tmp_path).label_names == ("mug",)
    with pytest.raises(InputError, match="there are: bed, bottle"):
        Furniture(ShapeModality(3), 16, 4, labels=["piano"], cache=tmp_path)
    with pytest.raises(InputError, match=r"data\.points is from 1 to 64"):
        Furniture(ShapeModality(3), 0, 4, stored=64, cache=tmp_path)


def test_meshes_are_normalised_labelled_and_read_once(root, monkeypatch):
    modality = ShapeModality(6)
    dataset = folder(root, modality)
    assert (dataset.labels, dataset.label_names, dataset.captions) == ([0, 0, 1], ("balls", "boxes"), None)
    for i in range(3):
        points = dataset.store[i][:, :3]
        assert np.allclose(points.max(axis=0) + points.min(axis=0), 0, atol=1e-6)
        assert np.isclose(np.ptp(points, axis=0).max(), 2)
    monkeypatch.setattr("modalities.shape.data.read_geometry", lambda path: pytest.fail(f"{path} was read again"))
    assert torch.equal(folder(root).x0(1, generator()), dataset.x0(1, generator()))


def test_shapes_are_sampled_independently_yet_always_alike(tmp_path):
    """With one seed for all, these two would be the same points in two sizes, and so the same sample."""
    for radius in (1, 2):
        (tmp_path / "root").mkdir(exist_ok=True)
        trimesh.creation.icosphere(2, radius=radius).export(tmp_path / f"root/{radius}.stl")
    first, second = (folder(tmp_path / "root").store[i] for i in range(2))
    again = MeshFolder(ShapeModality(6), tmp_path / "root", 100, stored=400, cache=tmp_path / "other")
    assert not np.allclose(first, second, atol=0.1)
    assert np.array_equal(again.store[0], first)


def test_content_changes_with_all_that_a_model_learns(root):
    def content(points=100):
        return MeshFolder(ShapeModality(6), root, points, stored=400, cache=root.parent / "cache").content

    first = content()
    assert content() == first
    assert content(points=50) != first
    (root / "metadata.jsonl").write_text('{"file_name": "balls/a.glb", "text": "a ball"}\n')
    captioned = content()
    (root / "boxes").rename(root / "cubes")
    assert len({first, captioned, content()}) == 3


def test_up_turns_the_shapes(root):
    tall = folder(root, up="z").store[2]
    assert np.argmax(np.ptp(tall[:, :3], axis=0)) == 1
    assert np.argmax(np.ptp(folder(root).store[2][:, :3], axis=0)) == 2


def test_modelnets_layout(root, tmp_path):
    (tmp_path / "net/chair/train").mkdir(parents=True)
    trimesh.creation.box().export(tmp_path / "net/chair/train/chair_0001.off")
    dataset = folder(tmp_path / "net", split="train", up="z")
    assert (len(dataset), dataset.label_names) == (1, ("chair",))
    with pytest.raises(InputError, match="holds no CLASS/test/FILE"):
        folder(tmp_path / "net", split="test")


def test_wild_scales_are_normalised_and_said(root, caplog):
    trimesh.creation.box((1000, 1, 1)).export(root / "boxes/huge.stl")
    with caplog.at_level(logging.WARNING):
        folder(root)
    assert "huge.stl" in caplog.text


def test_degenerate_faces_are_dropped_and_said(root, caplog):
    (root / "boxes/flat.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\nf 1 2 2\nf 3 3 3\n")
    with caplog.at_level(logging.WARNING):
        folder(root)
    assert "2 degenerate faces of 1 files were dropped" in caplog.text


def test_what_cannot_be_used_is_left_out_and_named(root, caplog):
    (root / "boxes/broken.stl").write_bytes(b"no mesh")
    assert len(folder(root)) == 3
    assert "1 of 4 mesh files" in caplog.text
    assert "broken.stl" in caplog.text
    with pytest.raises(InputError, match=r"set data\.max_unreadable to at least 1"):
        folder(root, max_unreadable=0)


def test_pointflows_layout(tmp_path):
    for synset in ("02691156", "03001627"):
        (tmp_path / synset / "train").mkdir(parents=True)
        np.save(tmp_path / synset / "train" / "a.npy", generator().normal(size=(500, 3)))
    modality = ShapeModality(3, normalisation="none")
    dataset = ShapeNetPoints(modality, tmp_path, 200, cache=tmp_path / "cache")
    assert dataset.label_names == ("02691156", "03001627")
    assert dataset.x0(0, generator()).shape == (3, 200)
    with pytest.raises(InputError, match=r"set modality\.channels=3"):
        ShapeNetPoints(ShapeModality(6), tmp_path, 200)


def test_statistics_that_the_modality_has_are_kept(tmp_path):
    settings = {"mean": [0.0] * 3, "deviation": [2.0] * 3}
    modality = ShapeModality(3, **settings)
    assert Furniture(modality, 16, 8, stored=64, cache=tmp_path).modality_settings == settings
