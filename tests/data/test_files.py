"""Names that data give stay below their root, and only our own leftovers are removed."""

import os

import pytest

from multidiff.data.files import atomic_path, heal, member, open_unlinked
from multidiff.data.streaming import folder_copy
from multidiff.data.streaming.remote import File
from multidiff.errors import InputError
from multidiff.sampling.samples import claimed


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "root"
    (root / "deep").mkdir(parents=True)
    (root / "deep" / "a.png").touch()
    (tmp_path / "secret.png").touch()
    (root / "out.png").symlink_to(tmp_path / "secret.png")
    (root / "in.png").symlink_to(root / "deep" / "a.png")
    os.mkfifo(root / "pipe.png")
    return root


@pytest.mark.parametrize("name", ["deep/a.png", "./deep/a.png", "in.png", "new.png", "a..b.png"])
def test_a_member_is_below_its_root(root, name):
    assert member(root, name) == root / name


@pytest.mark.parametrize(
    "name",
    ["../secret.png", "deep/../../secret.png", "/etc/hosts", "out.png", "pipe.png", "deep", "", None],
)
def test_what_leads_elsewhere_is_refused(root, name):
    with pytest.raises(InputError):
        member(root, name)


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "run.lock").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic links"):
        open_unlinked(tmp_path / "run.lock")
    assert (tmp_path / "victim").read_text() == "precious"


def test_only_leftovers_of_our_own_are_removed(tmp_path):
    own = [".model-ab12cd_9.partial", ".a.png-ab12cd_9.partial.png"]
    others = [".model-notes", ".model-old", ".model-ab12cd_9", ".models-ab12cd_9.partial", "model-ab12cd_9.partial"]
    for name in own + others:
        (tmp_path / name).mkdir()
    heal(tmp_path, "model", "*.png")
    assert {path.name for path in tmp_path.iterdir()} == set(others)


def test_a_file_that_is_being_written_has_a_name_that_is_healed(tmp_path):
    with atomic_path(tmp_path / "a.png") as path:
        path.touch()
        heal(tmp_path, "*.png")
        assert not path.exists()
        path.touch()


def test_a_folder_is_claimed_by_one_command(tmp_path):
    out = tmp_path / "out"
    with claimed(out), pytest.raises(InputError, match="is not an empty folder"), claimed(out):
        pass
    assert not out.exists()
    with claimed(out):
        (out / "a.png").touch()
    assert [path.name for path in out.iterdir()] == ["a.png"]


def test_a_remote_listing_stays_below_its_copy(tmp_path, monkeypatch):
    listed = {"../../victim": File("ftp://host/victim", 1, "stamp")}
    monkeypatch.setattr(folder_copy, "files_below", lambda root: listed)
    with pytest.raises(InputError, match="points outside"):
        folder_copy.folder_at("ftp://host/table", tmp_path / "cache", 10**9)
    assert not (tmp_path / "victim").exists()
