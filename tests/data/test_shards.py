"""Tar shards: every sample once an epoch, few shards at a time, the same from anywhere, within the cache's limit."""

from io import BytesIO
from itertools import chain

import fsspec
import numpy as np
import pytest
import torch
from PIL import Image

from modalities.image.modality import ImageModality
from multidiff.data.folder import Folder
from multidiff.data.order import shuffled
from multidiff.data.split import split
from multidiff.errors import InputError
from multidiff.training.datamodule import Stream
from tests.data.shards import COUNT, EACH, SIDE, images, number, numbers, picture, served, write_shards

pytestmark = pytest.mark.usefixtures("cache")


def test_samples_come_with_class_and_caption(root):
    dataset = images(root)
    assert len(dataset) == COUNT * EACH
    assert [number(dataset.data(i, np.random.default_rng(0))) for i in (0, 40, 71)] == [0, 40, 71]
    assert dataset.labels.names == ("0", "1", "2")
    assert dataset.labels.indices.tolist() == [i % 3 for i in range(COUNT * EACH)]
    assert dataset.facts(71) == {"label": "2", "caption": "number 71"}


def test_class_and_caption_may_be_in_json(root):
    dataset = images(root, label="json.parity", caption="none")
    assert list(dataset.labels[:3]) == ["even", "odd", "even"]
    assert list(dataset.fields) == ["label"]


def test_every_sample_comes_once_an_epoch_in_a_new_order(root):
    seen = numbers(images(root), 0, 24)
    first, second = seen[:72], seen[72:]
    assert sorted(first) == sorted(second) == list(range(72))
    assert first != second


def test_processes_see_disjoint_samples_which_one_sees_alone(root):
    ranks = [numbers(images(root), 0, 4, rank, 3) for rank in range(3)]
    assert sorted(chain(*ranks)) == list(range(72))
    alone = numbers(images(root), 0, 12)
    assert alone == [n for batch in range(4) for rank in ranks for n in rank[batch * 6 : batch * 6 + 6]]


@pytest.mark.parametrize("mixed", [1, 3, 7, 100])
def test_few_shards_are_read_at_a_time(mixed):
    """Around the circle of an epoch; the shards have different sizes."""
    random = np.random.default_rng(0)
    shards = np.repeat(np.arange(20), random.integers(30, 60, 20))
    order = shuffled(shards, mixed, random)
    assert sorted(order) == list(range(len(shards)))
    places = [np.flatnonzero(shards[order] == shard) for shard in range(20)]
    spans = [len(shards) - np.diff(np.append(p, p[0] + len(shards))).max() for p in places]
    assert sum(spans) / len(shards) <= min(mixed, 20)
    if mixed < 20:
        assert max(spans) < len(shards) * (mixed + 2) / 20


def test_with_no_more_shards_than_are_mixed_any_order_is_as_likely():
    """Of 6 orders of 3 samples in 2 shards, in 6000 draws: each within five standard deviations of 1000."""
    random = np.random.default_rng(0)
    drawn = [tuple(shuffled(np.array([0, 0, 1]), 4, random)) for _ in range(6000)]
    counts = [drawn.count(order) for order in set(drawn)]
    assert len(counts) == 6
    assert max(abs(count - 1000) for count in counts) < 5 * (1000 * 5 / 6) ** 0.5


def test_what_is_held_out_lies_in_few_shards(root):
    dataset = images(root)
    training, held_out = split(len(dataset), 0.25, 0, dataset.shards)
    assert len(held_out) == 18
    assert len(set(dataset.shards[held_out])) == 2
    assert sorted(training + held_out) == list(range(72))


@pytest.mark.parametrize("kind", ["file", "memory", "http"])
def test_remote_shards_equal_local_ones(root, kind):
    local = images(root)
    expected = [local.data(i, np.random.default_rng(0)) for i in range(72)]
    with served(root) as (url, _):
        if kind == "memory":
            memory = fsspec.filesystem("memory")
            for path in root.iterdir():
                memory.pipe(f"/shards/{path.name}", path.read_bytes())
        place = {"file": f"file://{root}/*.tar", "memory": "memory://shards", "http": f"{url}/{{000..007}}.tar"}[kind]
        dataset = images(place)
        assert dataset.content == local.content
        assert all(torch.equal(dataset.data(i, np.random.default_rng(0)), expected[i]) for i in range(72))


def test_copies_keep_within_the_limit_and_each_shard_is_fetched_once_an_epoch(root, cache, monkeypatch):
    """Six may be there, of which three are read at a time; the first three of an epoch are met again at its end."""
    size = (root / "000.tar").stat().st_size
    limit, folder, largest = 6.5 * size, cache / "shards" / "copies", []
    with served(root) as (url, asked):
        dataset = images(f"{url}/*.tar", cache_limit=limit / 1e9)
        asked.clear()
        stream = Stream(dataset, range(72), seed=0)
        monkeypatch.setattr(dataset, "expect", lambda index: None)
        for position in range(72):
            stream[position]
            largest.append(sum(path.stat().st_size for path in folder.iterdir()))
    assert max(largest) <= limit
    assert len(asked) <= COUNT + 3


def test_what_will_be_asked_for_is_fetched_in_the_background(root):
    with served(root) as (url, _):
        dataset = images(f"{url}/*.tar", cache_limit=1)
        for path in dataset.source.copies.folder.iterdir():
            path.unlink()
        dataset.expect(0)
        (thread,) = dataset.source.copies._expected.values()
        thread.join(10)
    assert number(dataset.data(0, np.random.default_rng(0))) == 0


def test_what_a_killed_process_was_fetching_gives_way(root, cache):
    folder = cache / "shards" / "copies"
    folder.mkdir(parents=True)
    (folder / "dead.part").write_bytes(bytes(10**6))
    size = (root / "000.tar").stat().st_size
    with served(root) as (url, _):
        assert len(images(f"{url}/*.tar", cache_limit=6.5 * size / 1e9)) == 72
    assert not (folder / "dead.part").exists()


def test_a_shard_is_indexed_once(root, monkeypatch):
    before = images(root).content
    monkeypatch.setattr("multidiff.data.streaming.shards.index_of", None)
    assert images(root).content == before


def test_a_sample_takes_its_class_along(tmp_path):
    root = write_shards(tmp_path / "bad", 1, 6, lambda n: b"no image" if n == 1 else picture(n))
    stream = Stream(images(root), range(6), seed=0)
    assert all(
        example["fields"]["label"] == str(number(example["data"]) % 3) for example in map(stream.__getitem__, range(6))
    )


def test_images_that_are_too_small_are_left_out_by_name(root):
    with pytest.raises(InputError, match=r"000\.tar/00003\.png: 16x16 pixels, smaller than 17x17"):
        images(root, size=17).data(3, np.random.default_rng(0))


def test_one_image_that_is_too_small_is_left_out_as_in_a_folder(tmp_path, caplog):
    small = BytesIO()
    Image.new("L", (1, 1)).save(small, "png")
    content = [small.getvalue() if n == 2 else picture(n) for n in range(6)]
    shards = write_shards(tmp_path / "shards", 1, 6, content.__getitem__)
    assert set(numbers(images(shards, mix=1), 0, 2)) == {0, 1, 3, 4, 5}
    (tmp_path / "folder").mkdir()
    for n, each in enumerate(content):
        (tmp_path / f"folder/{n}.png").write_bytes(each)
    assert len(Folder(ImageModality(1), tmp_path / "folder", size=SIDE)) == 5
    in_shard, in_folder = (message for message in caplog.messages if "left out" in message)
    assert "00002.png: 1x1 pixels, smaller than 16x16; data.size=1 fits" in in_shard
    assert "1 of 6 image files" in in_folder


def test_a_limit_that_would_thrash_is_refused(root):
    size = (root / "000.tar").stat().st_size
    with (
        served(root) as (url, _),
        pytest.raises(InputError, match=r"up to 6 shards are in use at a time.*lower data\.mix"),
    ):
        images(f"{url}/*.tar", cache_limit=5 * size / 1e9)
    assert len(images(root, cache_limit=size / 1e9)) == 72  # local ones need no copies


def test_without_the_package_a_line_says_what_to_install(root, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "braceexpand", None)
    with pytest.raises(InputError, match=r"pip install 'multidiff-toolkit\[data\]'"):
        images(root)
