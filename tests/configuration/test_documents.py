"""Documents of other people are plain values within limits, or an `InputError`."""

import os

import pytest

from multidiff.configuration import documents, parse_json, parse_yaml, read_json, read_yaml
from multidiff.errors import InputError


def test_plain_values_are_read_and_nothing_is_interpolated(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    (tmp_path / "a.yaml").write_text("a: [1, 2.5, true, null]\nb: ${oc.env:SECRET}\n")
    assert read_yaml(tmp_path / "a.yaml") == {"a": [1, 2.5, True, None], "b": "${oc.env:SECRET}"}
    (tmp_path / "a.json").write_text('{"a": [1, "x"]}')
    assert read_json(tmp_path / "a.json") == {"a": [1, "x"]}


@pytest.mark.parametrize(
    "text",
    [
        "a: &x [1]\nb: *x",
        "a: &x [*x]",
        "[" * 5000 + "]" * 5000,
        "a: !!python/object/apply:os.system ['true']",
        "a: 0x" + "f" * 1_000_000 + "\nb: 1" + "1" * 10_000,
        "a: 2024-13-45",
        "a: [",
        "\t- a",
    ],
)
def test_yaml_beyond_the_limits_is_refused(text):
    with pytest.raises(InputError, match="a config cannot be read"):
        parse_yaml(text, "a config")


@pytest.mark.parametrize("text", ["[" * 200_000, "1" * 10_000, "{", "", b"\xff"])
def test_json_beyond_the_limits_is_refused(text):
    with pytest.raises(InputError, match="a record"):
        parse_json(text, "a record")


def test_only_regular_files_of_a_limited_size_are_read(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "latin").write_bytes(b"a: caf\xe9")
    monkeypatch.setattr(documents, "CONFIG_BYTES", 10)
    (tmp_path / "large").write_text("a: 123456789")
    for name, message in {
        "pipe": "is not a file",
        ".": "is not a file",
        "gone": "there is no file",
        "latin": "not text in UTF-8",
        "large": "larger than",
    }.items():
        with pytest.raises(InputError, match=message):
            read_yaml(tmp_path / name)
