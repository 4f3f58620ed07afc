"""Codecs train through the same machinery as diffusion models."""

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from multidiff.codecs.directory import codec_hash, find_codec, load_codec
from multidiff.errors import InputError
from multidiff.sampling.model_directory import load
from multidiff.training.reproduce import reproduce_run
from tests.tiny import tiny_train, weights
from tests.tiny_codec import train_codec


@pytest.fixture(scope="module")
def codec(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("codec") / "run"
    train_codec(run_dir, "callbacks.previews.every=2", "trainer.val_check_interval=2")
    return run_dir


def loaded(run_dir):
    directory = find_codec(run_dir)
    return load_codec(directory, codec_hash(directory))


def test_a_codec_is_a_directory_with_a_config_a_card_and_the_averaged_weights(codec):
    trained = loaded(codec)
    assert trained.config["training"]["steps"] == 2
    assert trained.network.shape((1, 8, 8)) == (2, 2, 2)
    assert "codec=learned" in (codec / "model" / "README.md").read_text()
    with pytest.raises(InputError, match=r"is a codec, which generates nothing .* codec=learned codec.path="):
        load(codec)


def test_previews_show_originals_beside_reconstructions(codec):
    with Image.open(codec / "previews" / "step_00000002.png") as picture:
        assert picture.width == picture.height > 4 * 64


def test_an_interrupted_training_ends_with_the_same_weights(tmp_path):
    adversarial = ("reconstruction.adversarial=0.5", "reconstruction.adversarial_start=1")
    train_codec(tmp_path / "whole", "trainer.max_steps=4", *adversarial)
    train_codec(tmp_path / "parts", "trainer.max_steps=2", *adversarial)
    train_codec(tmp_path / "parts", "trainer.max_steps=4", "resume=true", *adversarial)
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_codec_is_reproduced(codec):
    assert not reproduce_run(codec, None).differences


def test_the_decoder_alone_is_trained_further(codec, tmp_path):
    train_codec(tmp_path / "run", f"decoder_of={codec}", "ema=constant")
    before, after = (load_file(run / "model" / "model.safetensors") for run in (codec, tmp_path / "run"))
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert same >= {name for name in before if name.startswith("encoder.")}
    assert not any(name.startswith("decoder.0") for name in same)


def test_the_discriminator_is_neither_saved_nor_averaged(tmp_path):
    train_codec(tmp_path / "run", "reconstruction.adversarial=1", "trainer.max_steps=1")
    assert not any("discriminator" in name for name in load_file(tmp_path / "run" / "model" / "model.safetensors"))
    kept = [name for name in weights(tmp_path / "run") if "discriminator" in name]
    assert kept
    assert not any(name.startswith("ema") for name in kept)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["teacher=x"], "a codec takes no teacher"),
        (["autoencoder.channels=3"], "data of 3 x N x N, and these are 1 x 8 x 8"),
        (["decoder_of=nowhere"], "there is no codec at nowhere"),
        (["+callbacks.evaluation._target_=multidiff.training.evaluate.Evaluate"], "use callbacks=default"),
        (["autoencoder.strides=[4,4]"], "one latent of 16 positions along each axis, and the data are only 8 x 8"),
        (["reconstruction.perceptual=-1"], "weights are at least 0"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, overrides, message):
    with pytest.raises(InputError, match=message):
        train_codec(tmp_path / "run", *overrides)
    assert not (tmp_path / "run").exists()


def test_decoder_of_is_for_codecs(codec, tmp_path):
    with pytest.raises(InputError, match="use it with experiment=codec"):
        tiny_train(tmp_path / "run", f"decoder_of={codec}")


def test_another_autoencoder_has_no_decoder_to_train_further(codec, tmp_path):
    with pytest.raises(InputError, match="has another autoencoder"):
        train_codec(tmp_path / "run", f"decoder_of={codec}", "autoencoder.kernel=1")
