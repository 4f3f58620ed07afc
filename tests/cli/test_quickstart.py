"""The quickstart samples what is bundled, trains what is not, and says what to do next."""

import json

import pytest

from multidiff import bundled
from multidiff.cli import quickstart
from multidiff.cli.quickstart import Part
from multidiff.sampling.packing import pack
from tests.cli.command import multidiff, refused
from tests.tiny import TINY

SHORT = (*TINY[1:], "trainer.max_steps=1")


@pytest.fixture
def installed(run_dir, tmp_path, monkeypatch):
    """A bundled model of drums, in place of all."""
    pack(run_dir, tmp_path / "installed" / "drums")
    monkeypatch.setattr(bundled, "FOLDER", tmp_path / "installed")
    parts = {name: Part("image/digits", SHORT, ("ema=constant",), each=1) for name in ("digits", "drums")}
    monkeypatch.setattr(quickstart, "PARTS", parts)


def test_bundled_models_are_sampled_and_the_others_trained(installed, tmp_path):
    done = multidiff("quickstart", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "quickstart"
    record = json.loads((out / "bundled" / "drums" / "samples.json").read_text())
    assert [entry["fields"]["label"] for entry in record["files"]] == list("0123456789")
    assert (out / "digits" / "samples" / "preview.png").is_file()
    assert not (out / "drums").exists()
    assert "multidiff studio quickstart/digits" in done.stdout
    assert "ConstantDecay" in (out / "digits" / "config.yaml").read_text()


def test_what_is_there_is_not_overwritten(installed, tmp_path):
    (tmp_path / "quickstart" / "bundled" / "drums").mkdir(parents=True)
    refused("quickstart", cwd=tmp_path, saying="quickstart/bundled/drums exists already")


@pytest.mark.parametrize(("ready", "arguments"), [(True, ["--full"]), (False, [])])
def test_every_modality_is_trained_at_length_if_asked_for_or_if_nothing_is_bundled(
    ready, arguments, installed, tmp_path, monkeypatch
):
    trained = {}
    if not ready:
        monkeypatch.setattr(bundled, "FOLDER", tmp_path / "none")
    monkeypatch.setattr(quickstart, "_show", lambda *arguments: None)
    monkeypatch.setattr(quickstart, "_sample", lambda *arguments: None)
    monkeypatch.setattr(quickstart, "_train", lambda _, overrides, folder: not trained.update({folder.name: overrides}))
    assert multidiff("quickstart", *arguments, cwd=tmp_path).returncode == 0
    assert trained == {"digits": SHORT, "drums": SHORT}
