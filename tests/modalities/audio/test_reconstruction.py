"""Codecs of sounds: the distance of spectra, mid and side, and a training."""

import pytest
import torch

from modalities.audio.reconstruction import AudioReconstruction, SpectralDistance, mid_and_side
from multidiff.codecs.directory import codec_hash, find_codec, load_codec
from multidiff.configuration import compose
from multidiff.errors import InputError
from multidiff.training.train import train

TINY = (
    "data=drums",
    "data.count=24",
    "data.seconds=0.1",
    "modality.sample_rate=16000",
    "loader.batch_size=2",
    "trainer.max_steps=2",
    "trainer.val_check_interval=2",
    "trainer.accelerator=cpu",
    "callbacks.previews.every=2",
    "callbacks.previews.count=4",
)
SMALL = ("autoencoder.widths=[8,8,8,8]", "autoencoder.bottleneck.channels=2", "reconstruction.sizes=[64,256]")


def test_the_distance_of_spectra_is_zero_only_for_equal_sounds_and_grows_with_noise():
    distance, sound = SpectralDistance([64, 256]), torch.randn(2, 1, 4000).cumsum(dim=-1) / 100
    noise = torch.randn(2, 1, 4000)
    near, far = (float(distance(sound + amount * noise, sound)) for amount in (0.01, 0.1))
    assert distance(sound, sound) == 0
    assert 0 < near < far


def test_the_gradient_is_finite_for_silence():
    quiet = torch.zeros(1, 1, 1000, requires_grad=True)
    SpectralDistance([64])(quiet, torch.randn(1, 1, 1000)).backward()
    assert quiet.grad.isfinite().all()


def test_mid_and_side():
    stereo = torch.tensor([[[1.0, 2.0], [3.0, 0.0]]])
    assert mid_and_side(stereo).tolist() == [[[2.0, 1.0], [-1.0, 1.0]]]
    assert torch.equal(mid_and_side(stereo[:, :1]), stereo[:, :1])


@pytest.mark.parametrize("wrong", [{"spectral": -1.0}, {"sizes": []}, {"sizes": [2]}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(InputError):
        AudioReconstruction(**wrong)


@pytest.mark.slow
def test_a_stereo_codec_trains_and_a_diffusion_model_on_it(tmp_path, monkeypatch):
    monkeypatch.setenv("MULTIDIFF_CACHE", str(tmp_path / "cache"))
    adversarial = ("reconstruction.adversarial=0.1", "reconstruction.adversarial_start=1")
    train(compose(["experiment=codec/audio", *TINY, *SMALL, *adversarial, f"run_dir={tmp_path / 'codec'}"]))
    directory = find_codec(tmp_path / "codec")
    network = load_codec(directory, codec_hash(directory)).network
    assert network.shape((2, 44100)) == (2, 44)
    assert list((tmp_path / "codec" / "previews").glob("*.png"))
    sounds = ("modality=audio", "modality.stereo=true", "conditioning=none", "backbone=unet1d_small", *TINY)
    learned = (*sounds, "backbone.widths=[8,8]", "backbone.head_size=8", f"codec.path={tmp_path / 'codec'}")
    train(compose([*learned, "codec=learned", "sampler.steps=2", f"run_dir={tmp_path / 'run'}"]))
    other = compose([*learned, "codec=learned", "modality.sample_rate=22050", f"run_dir={tmp_path / 'other'}"])
    with pytest.raises(InputError, match=r"modality.sample_rate=16000, and the data have modality.sample_rate=22050"):
        train(other)
