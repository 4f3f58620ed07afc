"""Training on shards and tables: exact after a stop, with any number of loader processes; for images and for sounds."""

import datasets
import numpy as np
import pytest
import torch

from modalities.audio.modality import AudioModality
from modalities.image.modality import ImageModality
from multidiff.data.folder import Folder
from multidiff.data.streaming.table import TableDataset
from multidiff.errors import InputError
from multidiff.training.datamodule import Stream
from tests.cli.command import multidiff as command
from tests.data.shards import SIDE, number, picture, served, tone, write_shards
from tests.tiny import TINY, tiny_train, weights

datasets.disable_progress_bars()


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write_shards(tmp_path_factory.mktemp("data") / "shards", 5, 12)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MULTIDIFF_CACHE", str(tmp_path / "cache"))


def on(shards, *settings):
    return ("data=image_shards", f"data.shards={shards}", f"data.size={SIDE}", "data.mix=2", *settings)


@pytest.mark.slow
def test_stopping_and_resuming_with_other_loaders_changes_no_bit(tmp_path, shards):
    """Nine steps, across an epoch's end, and four and five."""
    settings = on(shards, "data.crop=random", "data.flip=true", "data.size=12")
    tiny_train(tmp_path / "whole", "trainer.max_steps=9", "loader.workers=0", *settings)
    tiny_train(tmp_path / "halves", "trainer.max_steps=4", "loader.workers=2", *settings)
    tiny_train(tmp_path / "halves", "trainer.max_steps=9", "loader.workers=1", "resume=true", *settings)
    whole, halves = weights(tmp_path / "whole"), weights(tmp_path / "halves")
    assert all(torch.equal(whole[name], halves[name]) for name in whole)


def test_a_shard_that_vanishes_in_training_is_a_line_though_a_loader_process_met_it(tmp_path, monkeypatch):
    root = write_shards(tmp_path / "shards", 3, 12)
    original = Stream.__getitem__

    def vanished(self, position):
        if position > 20:
            for path in root.iterdir():
                path.unlink()
        return original(self, position)

    monkeypatch.setattr(Stream, "__getitem__", vanished)
    with pytest.raises(InputError, match=r"^\S+/shards/00\d\.tar: No such file or directory; restore it") as error:
        tiny_train(tmp_path / "run", "trainer.max_steps=9", *on(root, "loader.workers=1"))
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_the_command_trains_on_a_range_of_shards(tmp_path, shards):
    """In quotes, since Hydra's grammar has other uses for braces. `test_groups.py` trains on sounds too."""
    few = ["trainer.max_steps=1", "loader.batch_size=4"]
    done = command("train", *TINY, *on(f"'{shards}/{{000..004}}.tar'"), *few, "run_dir=images", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def table_of_pictures(count=12):
    rows = {
        "image": [{"bytes": picture(n), "path": None} for n in range(count)],
        "label": [n % 2 for n in range(count)],
        "text": [f"number {n}" for n in range(count)],
        "tempo": list(range(count)),
    }
    names = datasets.ClassLabel(names=["even", "odd"])
    features = datasets.Features(
        image=datasets.Image(), label=names, text=datasets.Value("string"), tempo=datasets.Value("int32")
    )
    return datasets.Dataset.from_dict(rows, features=features)


def saved(kind, folder):
    table = table_of_pictures()
    if kind == "disk":
        table.save_to_disk(folder)
    elif kind == "splits":
        datasets.DatasetDict(train=table, test=table.select(range(2))).save_to_disk(folder)
    else:
        for split, part in {"train": table, "test": table.select(range(2))}.items():
            part.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return folder


def images(root, **settings):
    return TableDataset(ImageModality(1), str(root), **{"column": "image", "size": SIDE, **settings})


@pytest.mark.parametrize("kind", ["disk", "splits", "parquet"])
@pytest.mark.parametrize("place", ["{}", "file://{}"])
def test_rows_of_a_table_are_the_pictures_with_class_and_caption(tmp_path, kind, place):
    dataset = images(place.format(saved(kind, tmp_path / "table")))
    assert len(dataset) == 12
    random = np.random.default_rng(0)
    assert [((dataset.data(i, random)[0, 0, 0] + 1) * 127.5).round().item() for i in (0, 5, 11)] == [0, 5, 11]
    assert dataset.labels.names == ("even", "odd")
    assert dataset.labels.indices.tolist() == [i % 2 for i in range(12)]
    assert dataset.fields["caption"][11] == "number 11"
    assert dataset.fields["tempo"].tolist() == list(range(12))


def test_a_table_gives_what_a_folder_gives(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 40, 30, 3), np.uint8)
    from PIL import Image  # noqa: PLC0415

    pictures = tmp_path / "table" / "pictures"
    pictures.mkdir(parents=True)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(pictures / f"{i}.png")
    Image.fromarray(pixels[0]).save(tmp_path / "private.png")
    paths = [*sorted(map(str, pictures.iterdir())), str(tmp_path / "private.png")]
    datasets.Dataset.from_dict({"picture": paths}).save_to_disk(tmp_path / "table")
    folder = Folder(ImageModality(3), pictures, size=16)
    table = TableDataset(ImageModality(3), tmp_path / "table", "picture", size=16)
    random = np.random.default_rng(0)
    assert all(torch.equal(folder.data(i, random), table.data(i, random)) for i in range(3))
    with pytest.raises(InputError, match="points outside"):
        table.source.file(3)


def test_a_table_of_sounds(tmp_path):
    rows = {"audio": [{"bytes": tone(n), "path": None} for n in range(4)], "label": ["b", "a", "b", "a"]}
    datasets.Dataset.from_dict(rows).cast_column("audio", datasets.Audio()).save_to_disk(tmp_path / "table")
    dataset = TableDataset(AudioModality(8000), tmp_path / "table", "audio", seconds=0.25, loudness=None)
    assert dataset.data(0, np.random.default_rng(0)).abs().max() == pytest.approx(0.5, abs=1e-3)
    assert (list(dataset.labels), dataset.labels.names) == (["b", "a", "b", "a"], ("a", "b"))
    others = {"louder": {"loudness": -10.0}, "longer": {"seconds": 0.3}, "like it": {"loudness": None}}
    for name, settings in others.items():
        own = {"seconds": 0.25, "loudness": None, **settings}
        other = TableDataset(AudioModality(8000), tmp_path / "table", "audio", **own)
        assert (other.content == dataset.content) == (name == "like it")


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("disk", {"column": "picture"}, "has no column 'picture'; it has image, label, text, tempo: set data.column"),
        ("disk", {"column": "label"}, "column 'label' is of type .* which holds no files"),
        ("splits", {"split": "valid"}, "has no split 'valid'; it has train, test"),
    ],
)
def test_a_wrong_setting_of_a_table_is_named(tmp_path, kind, settings, message):
    with pytest.raises(InputError, match=message):
        images(saved(kind, tmp_path / "table"), **settings)


def test_what_holds_no_table_is_named(tmp_path):
    with pytest.raises(InputError, match="no table in"):
        images(tmp_path)
    with pytest.raises(InputError, match=r"no folder .*/nowhere: set data\.root"):
        images(tmp_path / "nowhere")
    (tmp_path / "a.parquet").write_bytes(b"damaged")
    with pytest.raises(InputError, match="cannot be read"):
        images(tmp_path)


def test_a_cache_that_cannot_be_written_is_named_for_a_table_too(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "table").mkdir()
    table_of_pictures().to_parquet(tmp_path / "table" / "a.parquet")
    with pytest.raises(InputError, match=r"cannot write the cache .*; set MULTIDIFF_CACHE elsewhere"):
        images(tmp_path / "table", cache=tmp_path / "file" / "cache")


def test_a_remote_table_must_fit_the_limit(tmp_path):
    root = saved("disk", tmp_path / "table")
    with pytest.raises(InputError, match=r"data\.cache_limit is 1e-06: raise it"):
        images(f"memory://{put_in_memory(root)}", cache_limit=1e-6)
    assert len(images(f"memory://{put_in_memory(root)}")) == 12


def put_in_memory(root):
    import fsspec  # noqa: PLC0415

    fsspec.filesystem("memory").put(str(root), "/table", recursive=True)
    return "table"


@pytest.mark.parametrize("kind", ["disk", "parquet"])
def test_a_table_over_http_is_the_table(tmp_path, kind):
    root = saved(kind, tmp_path / "a table")
    with served(tmp_path) as (url, _):
        dataset = images(f"{url}/a%20table/")
    assert dataset.source.folder.is_relative_to(tmp_path / "cache")
    assert (dataset.content, dataset.fields["tempo"].tolist()) == (images(root).content, list(range(12)))


def test_rows_of_a_table_over_http_name_files_beside_it(tmp_path):
    (tmp_path / "table" / "some pictures").mkdir(parents=True)
    (tmp_path / "table" / "some pictures" / "ä 1.png").write_bytes(picture(7))
    rows = datasets.Dataset.from_dict({"image": ["some pictures/ä 1.png"]})
    rows.to_parquet(tmp_path / "table" / "rows.parquet")
    with served(tmp_path / "table") as (url, _):
        dataset = images(url)
    assert number(dataset.data(0, np.random.default_rng(0))) == 7
