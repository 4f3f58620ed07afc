import json
import os

import pytest

from multidiff.data.scan import fields_of, find_entries, first_few, name_in
from multidiff.errors import InputError

SUFFIXES = (".dat", ".bin")


def fill(root, *names, text=""):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")


def found(root):
    return {entry.path.relative_to(root).as_posix(): entry for entry in find_entries(root, SUFFIXES, "thing")}


def test_files_are_found_in_order_whatever_the_case_of_their_suffix(tmp_path):
    fill(tmp_path, "b.DAT", "a/c.bin", "a/b/d.dat", "c.jpg", "notes")
    assert list(found(tmp_path)) == ["a/b/d.dat", "a/c.bin", "b.DAT"]


def test_hidden_files_and_folders_are_left_out(tmp_path):
    fill(tmp_path, "a.dat", "._a.dat", ".git/b.dat", "c/.d/e.dat")
    assert list(found(tmp_path)) == ["a.dat"]


def test_links_are_followed_but_not_in_circles(tmp_path):
    fill(tmp_path, "elsewhere/x/a.dat", "root/y/b.dat")
    (tmp_path / "root/x").symlink_to(tmp_path / "elsewhere/x")
    (tmp_path / "root/y/up").symlink_to(tmp_path / "root")
    (tmp_path / "root/y/gone.dat").symlink_to(tmp_path / "nowhere")
    assert list(found(tmp_path / "root")) == ["x/a.dat", "y/b.dat"]


def test_first_level_folders_are_classes(tmp_path):
    fill(tmp_path, "dogs/a.dat", "cats/deep/b.dat", "cats/c.dat", "empty/readme.md")
    entries = find_entries(tmp_path, SUFFIXES, "thing")
    assert [entry.label for entry in entries] == ["cats", "cats", "dogs"]
    assert fields_of(entries)["label"].names == ("cats", "dogs")
    assert fields_of(entries)["label"].indices.tolist() == [0, 0, 1]


def test_a_file_in_the_root_means_no_classes(tmp_path, caplog):
    fill(tmp_path, "a.dat", "cats/b.dat")
    entries = find_entries(tmp_path, SUFFIXES, "thing")
    assert [entry.label for entry in entries] == [None, None]
    assert fields_of(entries) == {}
    assert caplog.messages == [f"{tmp_path}/: its subfolders are not used as classes, because a.dat lies beside them"]


def test_captions_lie_beside_their_files_and_may_be_missing(tmp_path):
    fill(tmp_path, "x/a.dat", "x/b.dat", "c.dat", "unrelated.txt")
    fill(tmp_path, "x/a.txt", text="\ufeffa café,\nby night \n")
    assert fields_of(find_entries(tmp_path, SUFFIXES, "thing"))["caption"] == ["", "a café,\nby night", ""]


def test_captions_are_listed_in_metadata_which_goes_first(tmp_path):
    fill(tmp_path, "x/a.dat", "b.dat", "c.dat", "d.dat")
    fill(tmp_path, "b.txt", "c.txt", text="beside")
    lines = [
        {"file_name": "x/a.dat", "text": "one\u2028line"},
        {"file_name": "./b.dat", "text": "listed", "tempo": 90},
        {"file_name": "d.dat"},
    ]
    fill(tmp_path, "metadata.jsonl", text="\n\n".join(json.dumps(line, ensure_ascii=False) for line in lines))
    entries = found(tmp_path)
    assert list(entries) == ["b.dat", "c.dat", "d.dat", "x/a.dat"]
    assert fields_of(list(entries.values())) == {
        "caption": ["listed", "beside", "", "one\u2028line"],
        "tempo": [90, None, None, None],
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not JSON"),
        ("[]", "line 2: expected .*, got \\[\\]"),
        ('{"text": "a"}', "line 2: expected"),
        ('{"file_name": "a.dat", "text": 3}', "line 2: expected"),
        ('{"file_name": "a.dat", "tempo": [3]}', "line 2: 'tempo' must be a text or a number"),
        ('{"file_name": "z.dat", "text": "a"}', "line 2: there is no file 'z.dat'"),
        ('{"file_name": "../a.dat", "text": "a"}', "line 2: there is no file"),
    ],
)
def test_a_wrong_line_of_metadata_is_named(tmp_path, line, message):
    fill(tmp_path, "a.dat")
    fill(tmp_path, "metadata.jsonl", text="\n" + line)
    with pytest.raises(InputError, match=message) as error:
        found(tmp_path)
    assert "\n" not in str(error.value)


def test_a_label_of_the_metadata_goes_before_the_folder(tmp_path):
    fill(tmp_path, "x/a.dat", "y/b.dat")
    fill(tmp_path, "metadata.jsonl", text='{"file_name": "y/b.dat", "label": "other"}')
    assert list(fields_of(find_entries(tmp_path, SUFFIXES, "thing"))["label"]) == ["x", "other"]


def test_a_class_for_some_files_alone_is_refused(tmp_path):
    fill(tmp_path, "a.dat", "b.dat")
    fill(tmp_path, "metadata.jsonl", text='{"file_name": "b.dat", "label": "other"}')
    with pytest.raises(InputError, match=r"no class for a\.dat in .*, but other files have one"):
        found(tmp_path)


def test_a_split_is_the_folder_below_the_class(tmp_path):
    fill(tmp_path, "chair/train/a.dat", "chair/test/b.dat", "table/train/c.dat")
    entries = find_entries(tmp_path, SUFFIXES, "thing", split="train")
    assert [(entry.label, entry.path.name) for entry in entries] == [("chair", "a.dat"), ("table", "c.dat")]
    with pytest.raises(InputError, match=r"holds no CLASS/val/FILE"):
        find_entries(tmp_path, SUFFIXES, "thing", split="val")


def test_captions_in_other_encodings_are_empty_named_and_counted(tmp_path, caplog):
    """UTF-8, UTF-16 with a byte order mark; anything else is not guessed."""
    encodings = ("utf-8", "utf-8-sig", "utf-16", "utf-16-be", "cp1252")
    for name, encoding in zip("abcde", encodings, strict=True):
        fill(tmp_path, f"{name}.dat")
        mark = "\ufeff" if encoding == "utf-16-be" else ""
        (tmp_path / f"{name}.txt").write_bytes(f"{mark}café".encode(encoding))
    assert fields_of(find_entries(tmp_path, SUFFIXES, "thing"))["caption"] == ["café"] * 4 + [""]
    assert caplog.messages == [
        f"{tmp_path}/: 1 of 5 files have no caption",
        f"{tmp_path}/: 1 captions cannot be read (e.txt: not text in UTF-8): left empty",
    ]
    with pytest.raises(
        InputError, match=r"1 captions .*: save them in UTF-8, or set data\.max_unreadable to at least 1"
    ):
        find_entries(tmp_path, SUFFIXES, "thing", max_unreadable=0)


def test_metadata_follow_the_rule_of_captions(tmp_path):
    fill(tmp_path, "a.dat")
    line = '{"file_name": "a.dat", "text": "café"}'
    (tmp_path / "metadata.jsonl").write_bytes(line.encode("utf-16"))
    assert found(tmp_path)["a.dat"].facts.caption == "café"
    (tmp_path / "metadata.jsonl").write_bytes(line.encode("cp1252"))
    with pytest.raises(InputError, match=r"metadata\.jsonl: not text in UTF-8"):
        found(tmp_path)


def test_a_missing_root_and_a_file_as_root_are_named(tmp_path):
    fill(tmp_path, "a.dat")
    with pytest.raises(InputError, match=r"no folder .*/b: set data\.root"):
        found(tmp_path / "b")
    with pytest.raises(InputError, match=r"a\.dat is a file: set data\.root"):
        found(tmp_path / "a.dat")


def test_a_folder_without_a_fitting_file_says_what_was_tried(tmp_path):
    with pytest.raises(InputError, match=r"no readable thing in .*: the folder is empty"):
        found(tmp_path)
    fill(tmp_path, "a.jpg", "b/c")
    expected = f"no readable thing in {tmp_path}/: 2 files tried (a.jpg: suffix not one of .dat .bin; b/c: suffix"
    with pytest.raises(InputError) as error:
        found(tmp_path)
    assert str(error.value).startswith(expected)


def test_long_lists_are_cut():
    ten = "; ".join(f"{name}: bad" for name in "abcdefghij")
    assert first_few(dict.fromkeys("abcdefghij", "bad")) == ten
    assert first_few(dict.fromkeys("abcdefghijkl", "bad")) == f"{ten}; and 2 more"


def test_names_are_compared_in_one_unicode_form(tmp_path):
    decomposed, composed = "cafe\u0301", "caf\u00e9"
    fill(tmp_path, f"{decomposed}/a.dat", f"{composed}s/b{decomposed}.dat")
    fill(tmp_path, f"{composed}s/b{composed}.txt", text="in a file")
    (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_name": f"{composed}/a.dat", "text": "listed"}), "utf-8")
    entries = find_entries(tmp_path, SUFFIXES, "thing")
    captions = {entry.label: entry.facts.caption for entry in entries}
    assert captions == {composed: "listed", f"{composed}s": "in a file"}


def test_a_caption_may_have_a_suffix_in_upper_case(tmp_path):
    fill(tmp_path, "A.DAT", "A.TXT", text="upper")
    assert found(tmp_path)["A.DAT"].facts.caption == "upper"


def test_a_name_that_the_locale_cannot_show_is_refused_with_the_way_out(tmp_path, monkeypatch):
    fill(tmp_path, "é.dat")
    monkeypatch.setattr("multidiff.data.scan.is_text", lambda name: False)  # as under LC_ALL=POSIX PYTHONUTF8=0
    with pytest.raises(InputError, match=r"the locale cannot show the name .*/é\.dat: set PYTHONUTF8=1"):
        found(tmp_path)


def test_a_name_that_is_not_unicode_is_refused(tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (folder / "a.dat").touch()
    with pytest.raises(InputError, match=r"caf\\xe9/a\.dat' is not UTF-8: rename"):
        found(tmp_path)


def test_files_that_are_passed_over_are_counted(tmp_path, caplog):
    fill(tmp_path, "a.dat", "b.dat", "b.txt", "c.jfif", "d.jfif", "e.GIF", "notes", text="x")
    (tmp_path / "f.dat").symlink_to("gone.dat")
    os.mkfifo(tmp_path / "g.dat")
    found(tmp_path)
    kinds = "2 .jfif, 1 .gif, 1 no suffix, 1 link to nothing, 1 pipe or device"
    assert f"ignoring 6 files that are not of the modality thing: {kinds}" in caplog.text
    assert "1 of 2 files have no caption" in caplog.text


def test_empty_captions_are_missing_and_named(tmp_path, caplog):
    fill(tmp_path, *(f"{name}.dat" for name in "abcde"), "a.txt")
    fill(tmp_path, "b.txt", text=" \n")
    fill(tmp_path, "c.txt", "d.txt", text="x")
    fill(tmp_path, "metadata.jsonl", text='{"file_name": "c.dat", "text": ""}')
    column = fields_of(find_entries(tmp_path, SUFFIXES, "thing"))["caption"]
    assert caplog.messages == [
        f"{tmp_path}/: {column.count('')} of 5 files have no caption; empty captions: a.dat, b.dat, c.dat"
    ]


def test_captions_that_are_all_empty_are_no_field(tmp_path, caplog):
    fill(tmp_path, "a.dat", "b.dat", "a.txt", "b.txt")
    assert fields_of(find_entries(tmp_path, SUFFIXES, "thing")) == {}
    assert caplog.messages == [f"{tmp_path}/: 2 of 2 files have no caption; empty captions: a.dat, b.dat"]


def test_the_files_that_others_refer_to_are_not_counted(tmp_path, caplog):
    fill(tmp_path, "a.dat", "a.mtl", "a.PNG", text="x")
    find_entries(tmp_path, SUFFIXES, "thing", companions=(".mtl", ".png"))
    assert "not read" not in caplog.text


@pytest.mark.parametrize("label", ["???", "${oc.env:HOME}", "[bold]m", "a${b"])
def test_a_class_may_have_any_name(tmp_path, label):
    fill(tmp_path, f"{label}/a.dat", "other/b.dat")
    assert {entry.label for entry in find_entries(tmp_path, SUFFIXES, "thing")} == {label, "other"}


def test_metadata_nested_too_deeply_is_refused(tmp_path):
    fill(tmp_path, "a.dat")
    (tmp_path / "metadata.jsonl").write_text("[" * 200_000)
    with pytest.raises(InputError, match="line 1: nested too deeply"):
        found(tmp_path)


def test_two_files_may_differ_in_the_form_of_their_names_alone(tmp_path):
    fill(tmp_path, "e\u0301.dat", "\u00e9.dat")
    assert len({name_in(tmp_path, entry.path) for entry in find_entries(tmp_path, SUFFIXES, "thing")}) == 2
