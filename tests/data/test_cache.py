import logging
import multiprocessing
import os
import pickle
import signal
from pathlib import Path

import numpy as np
import pytest

from multidiff.data.cache import decoded, default_cache
from multidiff.data.store import Store
from multidiff.errors import InputError
from multidiff.modality import Preparation


class Decoder(Preparation):
    """Digits of a file as a ragged array; counts the files it reads, in whatever process."""

    def __init__(self, prepare=None, **settings):
        self.counter, self.settings = multiprocessing.Value("i", 0), settings
        if prepare:
            self.prepare = prepare

    @property
    def calls(self):
        return self.counter.value

    def sample(self, prepared, random):
        raise NotImplementedError

    def prepare(self, path):
        with self.counter:
            self.counter.value += 1
        text = path.read_text()
        if not text.isdigit():
            raise InputError(f"{path}: not a number")
        return np.array([[int(digit) for digit in text]], dtype=np.uint8)


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "root"
    folder.mkdir()
    for name, text in {"a": "123", "b": "bad", "c": "4", "d": "56789"}.items():
        (folder / name).write_text(text)
    return folder


def opened(root, cache, decode=None, max_unreadable=1):
    return decoded(
        sorted(root.iterdir()),
        decode or Decoder(),
        root=root,
        kind="number",
        max_unreadable=max_unreadable,
        cache=cache,
    )


def contents(store):
    return [store[i].tolist() for i in range(len(store))]


def test_arrays_of_different_shapes_come_back(root, tmp_path):
    store = opened(root, tmp_path / "cache")
    assert contents(store) == [[[1, 2, 3]], [[4]], [[5, 6, 7, 8, 9]]]
    assert store[0].dtype == np.uint8
    assert store.shapes.tolist() == [[1, 3], [1, 1], [1, 5]]
    assert store.kept.tolist() == [0, 2, 3]
    assert store.skipped == {1: "not a number"}


def test_the_second_run_decodes_nothing_and_opens_a_few_sources_alone(root, tmp_path, monkeypatch):
    for number in range(100):
        (root / f"e{number}").write_text("1")
    first, decode = contents(opened(root, tmp_path / "cache")), Decoder()
    opening, sources = Path.open, []

    def watched(path, *args, **kwargs):
        sources.extend({root} & set(path.parents))
        return opening(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", watched)
    assert contents(opened(root, tmp_path / "cache", decode)) == first
    assert decode.calls == 0
    assert len(sources) == 4


def test_what_was_left_out_is_said_each_time(root, tmp_path, caplog):
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            opened(root, tmp_path / "cache")
        assert caplog.messages == [f"1 of 4 number files in {root}/ cannot be read (b: not a number): left out"]


def test_a_new_time_a_new_name_and_a_new_place_keep_the_key(root, tmp_path):
    key, decode = opened(root, tmp_path / "cache").key, Decoder()
    os.utime(root / "a", (1, 1))
    (root / "d").rename(root / "e")
    moved = root.rename(tmp_path / "moved")
    assert opened(moved, tmp_path / "cache", decode).key == key
    assert decode.calls == 0


def test_new_content_makes_a_new_key(root, tmp_path):
    key = opened(root, tmp_path / "cache").key
    (root / "a").write_text("321")
    os.utime(root / "a", ns=(0, 0))
    store = opened(root, tmp_path / "cache")
    assert store.key != key
    assert contents(store)[0] == [[3, 2, 1]]


def test_other_settings_an_other_order_and_an_other_suffix_make_a_new_key(root, tmp_path):
    keys = {opened(root, tmp_path / "cache").key, opened(root, tmp_path / "cache", Decoder(size=3)).key}
    (root / "a").rename(root / "z")
    keys.add(opened(root, tmp_path / "cache").key)
    (root / "z").rename(root / "a.TXT")
    keys.add(opened(root, tmp_path / "cache").key)
    assert len(keys) == 4


def test_more_unreadable_files_than_allowed_are_an_error_that_a_new_limit_mends_at_once(root, tmp_path):
    message = r"1 of 4 number files in .* \(b: not a number\): remove them, or set data.max_unreadable to at least 1"
    with pytest.raises(InputError, match=message):
        opened(root, tmp_path / "cache", max_unreadable=0)
    decode = Decoder()
    assert len(opened(root, tmp_path / "cache", decode, max_unreadable=1)) == 3
    assert decode.calls == 0


def test_a_folder_in_which_nothing_is_readable_is_an_error_whatever_the_limit(root, tmp_path):
    for name in "acd":
        (root / name).write_text("x")
    tried = "; ".join(f"{name}: not a number" for name in "abcd")
    message = f"no readable number in {root}/: 4 files tried ({tried})"
    for _ in range(2):
        with pytest.raises(InputError) as error:
            opened(root, tmp_path / "cache", max_unreadable=100)
        assert str(error.value) == message


def test_an_interrupted_build_leaves_no_store(root, tmp_path):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what runs in background

    def interrupted(path):
        if path.name == "c":
            os.kill(os.getppid(), signal.SIGINT)
        return np.zeros(3)

    try:
        with pytest.raises(KeyboardInterrupt):
            opened(root, tmp_path / "cache", Decoder(interrupted))
    finally:
        signal.signal(signal.SIGINT, before)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["contents"]
    assert len(opened(root, tmp_path / "cache")) == 3


def test_what_a_killed_build_has_left_is_swept_away_and_a_running_one_is_not(root, tmp_path):
    for name, age in {"building-killed": 1e6, "building-running": 0}.items():
        data = tmp_path / "cache" / name / "key/data.bin"
        data.parent.mkdir(parents=True)
        data.touch()
        os.utime(data, (data.stat().st_mtime - age,) * 2)
    opened(root, tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").glob("building-*")] == ["building-running"]


def test_a_store_that_another_process_finished_first_is_taken(root, tmp_path):
    decode = Decoder()

    def overtaken(path):
        if path.name == "a":
            opened(root, tmp_path / "cache")
        return decode.prepare(path)

    assert contents(opened(root, tmp_path / "cache", Decoder(overtaken)))[1] == [[4]]
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_store_is_read_only_and_travels_by_its_name(root, tmp_path):
    store = opened(root, tmp_path / "cache")
    with pytest.raises(ValueError, match="read-only"):
        store[0][0] = 1
    copy = pickle.dumps(store)
    assert len(copy) < 1000
    assert contents(pickle.loads(copy)) == contents(store)


@pytest.mark.parametrize("file", ["data.bin", "index.npz"])
def test_a_damaged_store_is_named_and_made_again(root, tmp_path, caplog, file):
    store = opened(root, tmp_path / "cache")
    whole = contents(store)
    (store.folder / file).write_bytes(b"PK\x03\x04")
    with pytest.raises(InputError, match=rf"the cache {store.folder} is damaged .* delete that folder"):
        Store(store.folder)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert contents(opened(root, tmp_path / "cache")) == whole
    assert f"the cache {store.folder} is damaged" in caplog.messages[0]
    assert caplog.messages[0].endswith("rebuilding it")


def test_a_file_that_took_too_long_is_tried_again_and_a_damaged_one_is_not(root, tmp_path):
    busy = tmp_path / "busy"
    busy.touch()

    def slow(path):
        if path.name == "c" and busy.exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return decode.prepare(path)

    decode = Decoder()
    assert (
        opened(root, tmp_path / "cache", Decoder(slow), max_unreadable=2)
        .skipped[2]
        .startswith("its decoder was killed")
    )
    busy.unlink()
    assert opened(root, tmp_path / "cache", Decoder(slow)).skipped == {1: "not a number"}
    count = decode.calls
    opened(root, tmp_path / "cache", Decoder(slow))
    assert decode.calls == count


@pytest.mark.slow
def test_every_flipped_bit_of_an_index_is_harmless_or_noticed(root, tmp_path):
    store = opened(root, tmp_path / "cache")
    whole, index = contents(store), store.folder / "index.npz"
    content = index.read_bytes()
    noticed = 0
    for place in range(len(content)):
        index.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
        try:
            assert contents(Store(store.folder)) == whole
        except InputError:
            noticed += 1
    assert noticed > len(content) / 2


def test_files_replaced_by_others_of_equal_size_and_time_are_noticed(root, tmp_path):
    before = opened(root, tmp_path / "cache")
    status = (root / "a").stat()
    (tmp_path / "new").write_text("987")
    os.utime(tmp_path / "new", ns=(status.st_atime_ns, status.st_mtime_ns))
    (tmp_path / "new").replace(root / "a")
    assert (root / "a").stat().st_mtime_ns == status.st_mtime_ns
    after = opened(root, tmp_path / "cache")
    assert contents(before)[0] == [[1, 2, 3]]
    assert contents(after)[0] == [[9, 8, 7]]


def test_a_file_system_whose_times_do_not_tell_is_noticed_by_its_contents(root, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("multidiff.data.cache._state", lambda path: [path.stat().st_size])
    opened(root, tmp_path / "cache")
    for name, text in {"a": "321", "c": "5"}.items():
        (root / name).write_text(text)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        store = opened(root, tmp_path / "cache")
    assert contents(store)[:2] == [[[3, 2, 1]], [[5]]]
    assert (
        caplog.messages[0] == f"{root / 'a'} changed, but its modification time did not: rereading all files of {root}/"
    )


def test_arrays_of_different_types_are_a_mistake_of_the_decoder(root, tmp_path):
    with pytest.raises(ValueError, match=r"one type of array, got \['float64', 'int8'\]"):
        opened(root, tmp_path / "cache", Decoder(lambda path: np.zeros(1, float if path.name == "a" else np.int8)))


def test_a_cache_that_cannot_be_written_is_named(root, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot write the cache .*; set MULTIDIFF_CACHE elsewhere"):
        opened(root, tmp_path / "file/cache")


def test_the_place_of_the_cache(monkeypatch):
    monkeypatch.delenv("MULTIDIFF_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/ada")
    assert default_cache() == Path("/home/ada/.cache/multidiff")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert default_cache() == Path("/xdg/multidiff")
    monkeypatch.setenv("MULTIDIFF_CACHE", "~/here")
    assert default_cache() == Path("/home/ada/here")


def test_a_user_without_a_home_is_asked_for_a_cache(monkeypatch):
    for name in ("MULTIDIFF_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)

    def nobody(number):
        raise KeyError(number)

    monkeypatch.setattr("pwd.getpwuid", nobody)
    with pytest.raises(InputError, match="there is no home directory for the cache: set MULTIDIFF_CACHE"):
        default_cache()
