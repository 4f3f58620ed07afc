"""Tables that cannot be used are refused, and rows that cannot be read are left out, with the reason."""

import errno
import json
import os

import datasets
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from modalities.image.modality import ImageModality
from multidiff.data.dataset import readable
from multidiff.data.decoding import Limits
from multidiff.data.streaming import table
from multidiff.data.streaming.table import TableDataset
from multidiff.errors import InputError
from tests.data.shards import SIDE, number, picture

pytestmark = pytest.mark.usefixtures("cache")
datasets.disable_progress_bars()

ROWS = range(3)


def saved(folder, **columns):
    """A table of three pictures, with these columns."""
    pictures = [{"bytes": picture(n), "path": None} for n in ROWS]
    datasets.Dataset.from_dict({"image": pictures, **columns}).save_to_disk(folder)
    return folder


def images(root, **settings):
    return TableDataset(ImageModality(1), str(root), **{"column": "image", "size": SIDE, **settings})


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def declare(root, column, feature):
    """Change what the table in ``root`` says about the type of ``column``."""
    path = root / "dataset_info.json"
    edit(path, features={**json.loads(path.read_text())["features"], column: feature})


@pytest.fixture
def beside(tmp_path):
    """A folder with a picture, and beside it a private one, with a link, a pipe and a device that lead elsewhere."""
    root = tmp_path / "table"
    root.mkdir()
    for path in (root / "a.png", tmp_path / "private.png"):
        path.write_bytes(picture(7))
    (root / "out.png").symlink_to(tmp_path / "private.png")
    (root / "zero.png").symlink_to("/dev/zero")
    os.mkfifo(root / "pipe.png")
    return root


def test_rows_that_name_no_file_of_the_table_are_left_out_by_name(beside, caplog):
    reasons = {
        "../private.png": "points outside",
        f"{beside}/../private.png": "points outside",
        "/dev/zero": "points outside",
        "out.png": "points outside",
        "zero.png": "points outside",
        "pipe.png": "is not a regular file",
        "gone.png": "No such file",
        "a\0.png": "is not the name of a file",
        "a" * 300: "File name too long",
    }
    datasets.Dataset.from_dict({"image": [*reasons, "a.png", str(beside / "a.png")]}).save_to_disk(beside)
    dataset, random, good = images(beside), np.random.default_rng(0), len(reasons)
    rows = range(good + 2)
    assert [readable(dataset, rows, place, random)[0] for place in rows] == [good] * (good + 1) + [good + 1]
    for row, ((name, reason), line) in enumerate(zip(reasons.items(), caplog.messages, strict=True)):
        assert f"row {row}: {name}" in line
        assert reason in line
    with pytest.raises(InputError, match=r"1 samples cannot be read .* set data\.max_unreadable higher"):
        images(beside, max_unreadable=0).data(0, random)


@pytest.mark.parametrize("name", ["../private/data-00000-of-00001.arrow", "{private}/data-00000-of-00001.arrow"])
def test_a_table_whose_state_names_files_elsewhere_is_refused(tmp_path, name):
    private, root = saved(tmp_path / "private"), saved(tmp_path / "table")
    edit(root / "state.json", _data_files=[{"filename": name.format(private=private)}])
    with pytest.raises(InputError, match="points outside"):
        images(root)


def test_a_split_elsewhere_is_refused(tmp_path):
    saved(tmp_path / "private")
    saved(tmp_path / "table" / "train")
    (tmp_path / "table" / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "../private"]}))
    assert len(images(tmp_path / "table")) == 3
    with pytest.raises(InputError, match="points outside"):
        images(tmp_path / "table", split="../private")


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "state.json", "dataset_dict.json"])
def test_a_pipe_in_place_of_a_file_of_the_table_is_refused(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match=r"is not a (regular )?file"):
        images(tmp_path)


def test_offsets_that_lead_out_of_the_file_are_refused(tmp_path):
    """Arrow reads what they point to, and crashes."""
    root = saved(tmp_path / "table", text=["a", "b", "c"])
    (path,) = root.glob("*.arrow")
    with pyarrow.OSFile(str(path)) as file:
        rows = pyarrow.ipc.open_stream(file).read_all()
    offsets = np.array([0, 2**30, 2, 3], np.int32)
    text = pyarrow.StringArray.from_buffers(3, pyarrow.py_buffer(offsets), pyarrow.py_buffer(b"abc"))
    with pyarrow.OSFile(str(path), "wb") as file, pyarrow.ipc.new_stream(file, rows.schema) as writer:
        writer.write_table(rows.set_column(1, rows.schema.field(1), text))
    with pytest.raises(InputError, match=r"cannot be read: .* [Oo]ffset"):
        images(root)


def test_classes_without_a_name_are_refused(tmp_path):
    root = saved(tmp_path / "table", label=[0, 1, 5])
    declare(root, "label", {"_type": "ClassLabel", "names": ["a", "b"]})
    with pytest.raises(InputError, match=r"row 2 has none of the 2 classes; set data\.label=null"):
        images(root)


@pytest.mark.parametrize("role", ["label", "caption"])
def test_a_class_or_caption_that_would_be_decoded_from_elsewhere_is_refused(tmp_path, role):
    """`datasets` opens the files and the URLs that a column of pictures names."""
    root = saved(tmp_path / "table", other=[{"bytes": b"", "path": "http://127.0.0.1:9/a.png"} for _ in ROWS])
    declare(root, "other", {"_type": "Image"})
    with pytest.raises(InputError, match=r"column 'other' is of type Image\(.*\), neither a class nor a text"):
        images(root, **{role: "other"})


def test_a_table_that_was_saved_with_a_format_gives_its_files(tmp_path):
    rows = datasets.Dataset.from_dict({"image": [{"bytes": picture(n), "path": None} for n in ROWS]})
    rows.with_format("numpy").save_to_disk(tmp_path)
    dataset = images(tmp_path)
    assert [number(dataset.data(n, np.random.default_rng(0))) for n in ROWS] == list(ROWS)


def test_a_folder_with_the_characters_of_a_pattern_is_a_folder_like_any_other(tmp_path):
    root = tmp_path / "a[1]*?"
    root.mkdir()
    saved(tmp_path / "saved")
    datasets.load_from_disk(str(tmp_path / "saved")).to_parquet(root / "[b].parquet")
    assert len(images(root)) == 3


COMPRESSED = pyarrow.ipc.IpcWriteOptions(compression="zstd")


def parquet(rows, folder):
    pyarrow.parquet.write_table(rows, folder / "rows.parquet", store_schema=False)


def arrow(rows, folder):
    with pyarrow.ipc.new_file(str(folder / "rows.arrow"), rows.schema, options=COMPRESSED) as writer:
        writer.write_table(rows)


def saved_and_compressed(rows, folder):
    datasets.Dataset(rows).save_to_disk(folder)
    (path,) = folder.glob("*.arrow")
    with pyarrow.ipc.new_stream(str(folder / "new"), rows.schema, options=COMPRESSED) as writer:
        writer.write_table(rows)
    (folder / "new").replace(path)


@pytest.mark.parametrize(
    ("write", "limit"),
    [(parquet, "memory"), (parquet, "size"), (arrow, "memory"), (arrow, "size"), (saved_and_compressed, "memory")],
)
def test_a_small_file_that_unpacks_to_a_large_table_is_refused(tmp_path, monkeypatch, write, limit):
    """A thousand captions of 100 KB, all equal."""
    folder = tmp_path / "bomb"
    folder.mkdir()
    rows = datasets.Dataset.from_dict({"image": [{"bytes": picture(1), "path": None}] * 1000}).data.table
    captions = pyarrow.DictionaryArray.from_arrays(np.zeros(1000, np.int32), ["a" * 10**5])
    write(rows.append_column("text", captions.cast(pyarrow.string())), folder)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 200_000
    if limit == "size":
        monkeypatch.setattr(table, "UNPACKED", 2**20)
    else:
        monkeypatch.setattr(table, "default_limits", lambda: Limits(2**26, 0))
    with pytest.raises(InputError, match="decompresses to far more" if limit == "size" else "memory"):
        images(folder)


def test_a_crash_of_the_reader_of_a_table_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(table.Table, "_hash", lambda self: os.kill(os.getpid(), 11))
    with pytest.raises(InputError, match=r"table crashes its reader \(-11\)"):
        images(saved(tmp_path / "table"))


def test_a_table_for_which_no_process_can_be_started_is_named(tmp_path, monkeypatch):
    def refuse():
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("multidiff.data.machine.Pipe", refuse)
    with pytest.raises(InputError, match="no process can be started for it: Too many open files"):
        images(saved(tmp_path / "table"))
