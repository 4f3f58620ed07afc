"""Shards that cannot be used are refused, with the reason."""

import io
import os
import signal
import tarfile
from pathlib import Path

import numpy as np
import pytest

from modalities.image.files import read_image
from multidiff.data.streaming.shards import Shards
from multidiff.data.streaming.tar_index import TarIndex
from multidiff.errors import InputError
from tests.data.shards import images, numbers, picture, write_shards
from tests.mutations import limited

pytestmark = pytest.mark.usefixtures("cache")


def test_what_cannot_be_decoded_is_named_counted_and_bounded(tmp_path, caplog):
    root = write_shards(tmp_path / "bad", 2, 6, lambda n: b"no image" if n % 4 == 1 else picture(n))
    dataset = images(root)
    seen = numbers(dataset, 0, 2)
    assert set(seen) == {0, 2, 3, 4, 6, 7, 8, 10, 11}
    assert f"{root}/000.tar/00001.png: not an image: left out, the next sample is used instead (" in caplog.text
    assert len(caplog.messages) == 3
    with pytest.raises(InputError, match=r"2 samples cannot be read .* set data\.max_unreadable higher"):
        numbers(images(root, max_unreadable=1), 0, 2)
    nothing = write_shards(tmp_path / "nothing", 1, 3, lambda n: b"no image")
    with pytest.raises(InputError, match="no sample of the data can be read"):
        numbers(images(nothing), 0, 1)


def test_a_sample_that_crashes_its_decoder_is_left_out(tmp_path, caplog, monkeypatch):
    def read_or_crash(file, *settings):
        if "00001" in file.name:
            os.kill(os.getpid(), signal.SIGSEGV)
        return read_image(file, *settings)

    monkeypatch.setattr("modalities.image.preparation.read_image", read_or_crash)
    dataset = images(write_shards(tmp_path / "bad", 1, 6, picture))
    assert set(numbers(dataset, 0, 2)) == {0, 2, 3, 4, 5}
    assert "000.tar/00001.png: crashes its decoder (SIGSEGV): left out" in caplog.text


def write_members(path, *members):
    """A tar of these names and contents, in this order."""
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def truncated(path):
    os.truncate(path, path.stat().st_size // 2)


def cut_at_the_end(path):
    os.truncate(path, path.stat().st_size - 10240)


def compressed(path):
    path.write_bytes(b"\x1f\x8b" + path.read_bytes())


def emptied(path):
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncated, "truncated: copy it again"),
        (cut_at_the_end, "truncated: copy it again"),
        (compressed, r"compressed \(gzip\)"),
        (emptied, "not a tar"),
        (Path.unlink, "there is no such file"),
    ],
)
def test_a_shard_that_cannot_be_used_is_named(tmp_path, damage, message):
    root = write_shards(tmp_path / "shards", 3, 3)
    damage(root / "001.tar")
    with pytest.raises(InputError, match=message) as error:
        images(f"{root}/{{000..002}}.tar")
    assert "001.tar" in str(error.value)


@pytest.mark.parametrize(
    ("shards", "settings", "message"),
    [
        ("{root}/*.zip", {}, r"no \.tar file matches .*\*\.zip"),
        ("http://127.0.0.1:9/a.tar", {}, "cannot open http://127.0.0.1:9/a.tar"),
        ("nosuch://bucket/a.tar", {}, "cannot open nosuch://bucket/a.tar: Protocol not known"),
        ("{root}", {"mix": 0}, "data.mix must be at least 1"),
    ],
)
def test_what_cannot_be_opened_is_a_line(root, shards, settings, message):
    place = shards.replace("{root}", str(root))
    with pytest.raises(InputError, match=message) as error:
        images(place, **settings)
    assert "\n" not in str(error.value)


def test_shards_of_something_else_are_refused(root):
    with pytest.raises(
        InputError, match=r"no audio in 8 shards .* of their 72 samples none has a file with a suffix of \.wav"
    ):
        Shards(
            str(root), [".wav"], "audio", label="cls", caption="txt", mix=1, cache=None, cache_limit=1, max_unreadable=0
        )


def test_a_shard_that_changed_or_vanished_since_is_named(tmp_path):
    root = write_shards(tmp_path / "shards", 2, 3)
    dataset = images(root)
    os.truncate(root / "000.tar", 600)
    with pytest.raises(InputError, match=r"000\.tar has been truncated since training began"):
        dataset.data(2, np.random.default_rng(0))
    (root / "001.tar").unlink()
    with pytest.raises(InputError, match=r"001\.tar: No such file"):
        dataset.data(4, np.random.default_rng(0))


def hostile_shard(path, name, content, claimed=None):
    """A tar with a picture and another member, whose header may claim another size."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for member, data, size in (("0.png", picture(1), None), (name, content, claimed)):
            known = tarfile.TarInfo(member)
            known.size = len(data) if size is None else size
            tar.fileobj.write(known.tobuf(tarfile.GNU_FORMAT))
            tar.fileobj.write(data.ljust(-(-len(data) // 512) * 512, b"\0"))
            tar.offset = tar.fileobj.tell()


@pytest.mark.parametrize(
    ("name", "content", "claimed", "message"),
    [
        ("0.cls", b"7", int(5e18), "truncated|not a tar"),
        ("0.json", b"[" * 100_000, None, "nested too deeply"),
        ("0.json", b'{"x": ' + b"1" * 5000 + b"}", None, "not JSON"),
    ],
)
def test_a_hostile_member_of_a_shard_is_refused(tmp_path, name, content, claimed, message):
    hostile_shard(tmp_path / "a.tar", name, content, claimed)
    with limited(), pytest.raises(InputError, match=message) as error:
        images(tmp_path / "a.tar", label="json.x" if name == "0.json" else "cls")
    assert "a.tar" in str(error.value)
    assert len(str(error.value)) < 500


DAMAGED = [
    "",
    "[]",
    "{}",
    '{"names":["a"],"offsets":[-5],"sizes":[10],"labels":[null],"captions":[null],"others":0,"scattered":0,"unread":[]}',
    '{"names":["a"],"offsets":[0],"sizes":[1000000000000],"labels":[null],"captions":[null],"others":0,"scattered":0,"unread":[]}',
    '{"names":["a"],"offsets":[],"sizes":[1],"labels":[null],"captions":[null],"others":0,"scattered":0,"unread":[]}',
    '{"names":[3],"offsets":[0],"sizes":[1],"labels":[null],"captions":[null],"others":0,"scattered":0,"unread":[]}',
    "[" * 100_000,
]


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_index_is_refused_so_that_it_is_made_again(text):
    with pytest.raises(InputError):
        TarIndex.from_json(text, 10_000)


def test_captions_follow_the_rule_of_folders(tmp_path, caplog):
    """UTF-8, UTF-16 with a byte order mark; anything else is empty, named and counted."""
    captions = ["café".encode(), "\ufeffcafé".encode(), "café".encode("utf-16"), "café".encode("cp1252")]
    write_members(
        tmp_path / "0.tar",
        *(
            (f"{i}.{kind}", each)
            for i, text in enumerate(captions)
            for kind, each in (("png", picture(i)), ("txt", text))
        ),
    )
    dataset = images(tmp_path, mix=1)
    assert list(dataset.fields["caption"]) == ["café", "café", "café", ""]
    assert f"1 shards: 1 captions cannot be read ({tmp_path}/0.tar/3.txt: not text in UTF-8): left empty" in caplog.text
    with pytest.raises(
        InputError, match=r"3\.txt: not text in UTF-8\): save them in UTF-8, or set data\.max_unreadable"
    ):
        images(tmp_path, mix=1, max_unreadable=0)


def test_members_of_a_sample_that_lie_apart_are_explained(tmp_path, caplog):
    write_members(tmp_path / "0.tar", *((f"{i}.{kind}", picture(i)) for kind in ("png", "txt") for i in range(3)))
    images(tmp_path, mix=1)
    assert "3 samples have no file with a suffix of" in caplog.text
    assert "3 names occur again later in their shard, but the files of a sample must be adjacent" in caplog.text
