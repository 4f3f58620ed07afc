"""A packed model is half the size, needs nothing else, computes in float32, and generates what its original does."""

import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import multidiff
from multidiff.errors import InputError
from multidiff.sampling.model_directory import read_config
from multidiff.sampling.packing import pack
from tests.tiny import tiny_train
from tests.tiny_codec import train_codec


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packing")
    train_codec(folder / "codec")
    latent = ("codec=learned", f"codec.path={folder / 'codec'}")
    tiny_train(folder / "run", "trainer.max_steps=1", *latent)
    return folder


@pytest.fixture(scope="module")
def packed(runs):
    pack(runs / "run", runs / "packed", "cc-by-sa-4.0", "It has learned from *drawings*.")
    return runs / "packed"


def test_a_packed_model_stands_alone_at_half_the_size(runs, packed, tmp_path):
    moved = shutil.copytree(packed, tmp_path / "elsewhere" / "model")
    hidden = runs / "codec"
    hidden.rename(runs / "hidden")
    try:
        artifacts = multidiff.load(moved, "cpu").sample(2, steps=2)
    finally:
        (runs / "hidden").rename(hidden)
    assert [image.size for image in artifacts] == [(8, 8)] * 2
    for folder, original in ((packed, runs / "run"), (packed / "codec", runs / "codec")):
        state, before = (load_file(each / "model.safetensors") for each in (folder, original / "model"))
        assert {tensor.dtype for tensor in state.values()} == {torch.float16}
        assert state.keys() == before.keys()
        assert str(runs) not in (folder / "config.yaml").read_text()


def test_it_computes_in_float32_and_generates_the_same(runs, packed):
    pipeline = multidiff.load(packed, "cpu")
    assert {parameter.dtype for parameter in pipeline.model.parameters()} == {torch.float32}
    assert {parameter.dtype for parameter in pipeline.model.codec.autoencoder.parameters()} == {torch.float32}
    again = pack(runs / "run", runs / "again")
    assert 0 < again.difference < 0.01
    assert again.size == sum(file.stat().st_size for file in (runs / "again").rglob("*") if file.is_file())


def test_the_hashes_of_what_it_was_packed_from_are_kept(runs, packed):
    before, after = read_config(runs / "run" / "model"), read_config(packed)
    hashes = {"weights_sha256": before["weights_sha256"], "codec_sha256": before["codec"]["sha256"]}
    assert after["packed_from"] == hashes
    assert after["weights_sha256"] != before["weights_sha256"]
    assert after["training"] == before["training"]


def test_the_card_has_the_licence_and_what_is_to_be_said(packed):
    card = (packed / "README.md").read_text()
    assert card.startswith("---\nlicense: cc-by-sa-4.0\n")
    assert "It has learned from *drawings*." in card
    assert "multidiff sample packed -n 16" in card


def test_a_damaged_codec_inside_is_refused(packed, tmp_path):
    moved = shutil.copytree(packed, tmp_path / "model")
    weights = moved / "codec" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(InputError, match=r"codec/model\.safetensors is damaged"):
        multidiff.load(moved, "cpu")


def test_what_cannot_be_packed_is_refused(runs, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "kept.txt").touch()
    with pytest.raises(InputError, match="holds something other than a model"):
        pack(runs / "run", tmp_path / "full")
    with pytest.raises(InputError, match="is the model itself"):
        pack(runs / "run", runs / "run" / "model")
    large = shutil.copytree(runs / "run" / "model", tmp_path / "large")
    state = load_file(large / "model.safetensors")
    next(iter(state.values())).fill_(1e5)
    save_file(state, large / "model.safetensors")
    config = yaml.safe_load((large / "config.yaml").read_text())
    del config["weights_sha256"]
    (large / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(InputError, match="above 65504"):
        pack(large, tmp_path / "out")
    assert not (tmp_path / "out").exists()
