"""Models with frozen text encoders: trained, saved without them, loaded with them, and refused with others."""

import pytest
from PIL import Image
from safetensors import safe_open

import multidiff
from multidiff.configuration import compose
from multidiff.errors import InputError
from multidiff.training.train import train
from tests.conditioners.encoders import bert, t5
from tests.tiny import TINY


def trained(root, *conditioning):
    """A pipeline on three captioned pictures, and its run directory."""
    (root / "pictures").mkdir()
    for colour in ("red", "green", "blue"):
        Image.new("RGB", (8, 8), colour).save(root / "pictures" / f"{colour}.png")
        (root / "pictures" / f"{colour}.txt").write_text(f"A {colour} ball")
    own = [override for override in TINY if "label" not in override]
    data = ["modality.channels=3", "data=image_folder", f"data.root={root / 'pictures'}", "data.size=8"]
    few = ["loader.holdout=0.3", "loader.batch_size=2", "trainer.max_steps=2", f"run_dir={root / 'run'}"]
    train(compose([*own, *data, *few, *conditioning]))
    return root / "run"


def stored(run_dir):
    with safe_open(run_dir / "model" / "model.safetensors", "pt") as weights:
        return {name for name in weights.keys() if name.startswith("conditioner")}  # noqa: SIM118  not a mapping


def test_an_encoder_from_a_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MULTIDIFF_CACHE", str(tmp_path / "cache"))
    folder = bert(tmp_path / "encoder")
    run_dir = trained(tmp_path, "conditioning=text_pretrained", f"conditioning.caption.path={folder}")
    own = {
        f"conditioner.parts.caption.{name}" for name in ("norm.weight", "norm.bias", "project.weight", "project.bias")
    }
    assert stored(run_dir) == own
    before = multidiff.load(run_dir).sample(2, prompt="a (red:1.2) puppy", steps=2)
    folder.rename(tmp_path / "moved")
    with pytest.raises(InputError, match=r"config\.yaml: there is no text encoder at .*encoder"):
        multidiff.load(run_dir)
    (tmp_path / "cache" / "weights").mkdir()
    (tmp_path / "moved").rename(tmp_path / "cache" / "weights" / "encoder")
    after = multidiff.load(run_dir).sample(2, prompt="a (red:1.2) puppy", steps=2)
    assert [image.tobytes() for image in after] == [image.tobytes() for image in before]
    t5(folder)
    with pytest.raises(InputError, match=r"has the hash .* and the model was trained with"):
        multidiff.load(run_dir)


def test_word_vectors(tmp_path, monkeypatch):
    pytest.importorskip("wordllama")
    monkeypatch.setenv("MULTIDIFF_CACHE", str(tmp_path / "cache"))
    run_dir = trained(tmp_path, "conditioning=text_static", "conditioning.caption.dim=32")
    assert not any("table" in name for name in stored(run_dir))
    assert len(multidiff.load(run_dir).sample(2, prompts=["a crimson ball"], steps=2)) == 2
