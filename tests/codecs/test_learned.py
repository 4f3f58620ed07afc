"""Learned codecs are referred to, standardised, computed in tiles, and refused where they do not fit."""

import copy
import logging
import pickle
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from multidiff.bundled import bundled
from multidiff.codecs import KL
from multidiff.codecs.directory import codec_hash, find_codec, save_codec
from multidiff.codecs.learned import Learned
from multidiff.codecs.tiles import in_tiles, up_to_multiple
from multidiff.configuration import instantiate, load_option
from multidiff.errors import InputError
from tests.codecs.networks import IMAGE, SOUND, data_for, made

MODALITY = {"_target_": "modalities.image.modality.ImageModality", "channels": 3}
DATA = [torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(n)) for n in range(20)]


def saved(folder, scale=1.0):
    """A codec of images with random weights."""
    network = made(IMAGE, KL(2)).float()
    with torch.no_grad():
        network.encoder[-1].weight *= scale
    settings = {
        "modality": MODALITY,
        "autoencoder": {
            "_target_": "multidiff.codecs.convolutional.ConvolutionalAutoencoder",
            "bottleneck": {"_target_": "multidiff.codecs.KL", "channels": 2},
            **IMAGE,
        },
    }
    save_codec(network, settings, (3, 16, 16), folder / "model", {"steps": 0})
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("codec"))


@pytest.fixture
def codec(folder):
    return Learned(**Learned.settings_from({"path": str(folder)}, DATA))


def test_latents_are_standardised_and_shapes_known(codec):
    x0 = codec.encode(torch.stack(DATA))
    values = x0.transpose(0, 1).flatten(1)
    assert values.mean(dim=1).abs().max() < 1e-3
    assert (values.std(dim=1) - 1).abs().max() < 1e-2
    assert tuple(x0.shape[1:]) == codec.shape((3, 16, 16)) == (2, 4, 4)
    assert tuple(codec.decode(x0).shape[1:]) == codec.data_shape((2, 4, 4)) == (3, 16, 16)


def test_the_network_is_shared_and_not_part_of_the_model(codec):
    assert not codec.state_dict()
    assert not list(codec.parameters())
    assert copy.deepcopy(codec).autoencoder is codec.autoencoder
    x = torch.stack(DATA)
    assert torch.equal(pickle.loads(pickle.dumps(codec)).encode(x), codec.encode(x))


def test_half_precision_is_computed_in_float32(codec):
    assert codec.encode(torch.stack(DATA).bfloat16()).dtype == torch.float32


def test_statistics_that_are_given_stay(folder):
    given = {"mean": [0.0, 1.0], "deviation": [1.0, 2.0]}
    assert Learned.settings_from({"path": str(folder), **given}, DATA).keys() == {"path", "sha256"}


@pytest.mark.parametrize("settings", [IMAGE, SOUND], ids=["image", "sound"])
def test_tiles_equal_the_whole(settings):
    network = made(settings)
    where, factor = network.locality, network.factor
    data = data_for(network, 41 if settings is SOUND else 13)
    margin = up_to_multiple(where.encoder_reach, factor)
    latents = network.encode(data)
    tiled = in_tiles(network.encode, data, 4 * factor, margin, factor, shrinks=True)
    torch.testing.assert_close(tiled, latents, atol=1e-10, rtol=0)
    whole = network.decode(latents)
    tiled = in_tiles(network.decode, latents, 4, where.decoder_reach, factor, shrinks=False)
    torch.testing.assert_close(tiled, whole, atol=1e-10 * float(whole.detach().abs().max()), rtol=0)


def test_the_codec_uses_tiles(folder, codec):
    tiled = Learned(**Learned.settings_from({"path": str(folder)}, DATA), tile=4)
    data = torch.randn(1, 3, 64, 48)
    torch.testing.assert_close(tiled.encode(data), codec.encode(data), atol=1e-4, rtol=1e-4)
    x0 = torch.randn(1, 2, 16, 12)
    torch.testing.assert_close(tiled.decode(x0), codec.decode(x0), atol=1e-4, rtol=1e-4)


def test_a_region_of_the_data_is_that_of_the_latents_and_one_around(codec):
    mask = torch.zeros(3, 32, 32, dtype=torch.bool)
    mask[0, 9, 20] = True
    region = codec.region(mask)
    expected = torch.zeros(2, 8, 8, dtype=torch.bool)
    expected[:, 1:4, 4:7] = True
    assert torch.equal(region, expected)


def test_a_changed_codec_is_refused(tmp_path):
    folder = saved(tmp_path / "codec")
    settings = Learned.settings_from({"path": str(folder)}, DATA)
    shutil.rmtree(folder)
    saved(folder, scale=2.0)
    with pytest.raises(InputError, match=r"has the hash .* is expected: put that codec there"):
        Learned(**settings).shape((3, 16, 16))


def test_a_codec_in_the_cache_is_found_by_its_name(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("MULTIDIFF_CACHE", str(tmp_path))
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "mine").symlink_to(folder)
    assert Learned("/elsewhere/mine", codec_hash(find_codec(folder))).shape((3, 16, 16)) == (2, 4, 4)
    with pytest.raises(InputError, match="there is no codec at /elsewhere/other"):
        Learned("/elsewhere/other").shape((3, 16, 16))


def test_a_codec_of_a_bundled_model_is_found_by_the_name_of_the_model_and_by_its_hash():
    """A model that started from a bundled one keeps the place of the codec, where the next machine has none."""
    place = bundled()["emoji"] / "codec"
    digest = codec_hash(place)
    assert (
        find_codec("emoji")
        == find_codec(place)
        == find_codec(place.parent)
        == find_codec("/gone/codec", digest)
        == place
    )
    assert Learned("/gone/codec", digest).shape((3, 64, 64)) == (4, 16, 16)
    with pytest.raises(InputError, match="there is no codec at /gone/codec"):
        find_codec("/gone/codec", "0" * 64)


def test_another_modality_is_refused_with_both_settings(codec):
    codec.require(MODALITY)
    with pytest.raises(InputError, match=r"trained with modality.channels=3, and the data have modality.channels=1"):
        codec.require({**MODALITY, "channels": 1})
    with pytest.raises(InputError, match="is of the modality image, and the data are of audio"):
        codec.require({"_target_": "modalities.audio.modality.AudioModality", "sample_rate": 16000})


def test_settings_that_differ_are_named_as_they_are_typed(codec, monkeypatch):
    sounds = {"_target_": "modalities.audio.modality.AudioModality", "sample_rate": 44100, "stereo": True}
    monkeypatch.setitem(codec.trained.config, "modality", sounds)
    with pytest.raises(InputError, match=r"set modality\.sample_rate=44100 modality\.stereo=true, or train a codec"):
        codec.require({**sounds, "sample_rate": 16000, "stereo": False, "encoding": 24})


def test_data_of_other_channels_or_smaller_than_the_factor_are_refused(folder):
    for shape, message in (((1, 16, 16), "data of 3 x N x N"), ((3, 2, 2), "one latent of 4 positions")):
        with pytest.raises(InputError, match=message):
            Learned.settings_from({"path": str(folder)}, [torch.zeros(shape)] * 3)


def test_latents_that_are_not_finite_are_refused(codec):
    with pytest.raises(InputError, match="latents of these data that are not finite"):
        codec.encode(torch.full((1, 3, 16, 16), torch.inf))


def test_latents_far_from_unit_scale_are_reported(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        Learned.settings_from({"path": str(saved(tmp_path, scale=1e-4))}, DATA)
    assert "2 channels of the latents" in caplog.text
    assert "standard deviations far from 1" in caplog.text


def damaged(folder, change):
    config = yaml.safe_load((folder / "model" / "config.yaml").read_text())
    change(config)
    (folder / "model" / "config.yaml").write_text(yaml.safe_dump(config))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config: config.pop("autoencoder"), "is no codec"),
        (lambda config: config.pop("modality"), "lacks the modality"),
        (lambda config: config["autoencoder"].update(widths=[8, 16]), "holds the weights of another model"),
        (lambda config: config["autoencoder"].update(kernel=2), "odd kernel"),
        (lambda config: config["autoencoder"].update(_target_="os.system"), "not allowed"),
        (lambda config: config["autoencoder"].update(widths=[4096, 4096]), "more weights than its file holds"),
    ],
)
def test_damaged_codecs_are_refused_in_one_line(tmp_path, change, message):
    damaged(saved(tmp_path), change)
    with pytest.raises(InputError, match=message) as refusal:
        Learned(str(tmp_path)).shape((3, 16, 16))
    assert "\n" not in str(refusal.value)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    weights = saved(tmp_path) / "model" / "model.safetensors"
    save_file({name: each * torch.nan for name, each in load_file(weights).items()}, weights)
    damaged(tmp_path, lambda config: config.pop("weights_sha256"))
    with pytest.raises(InputError, match="not finite"):
        Learned(str(tmp_path)).shape((3, 16, 16))


@pytest.mark.parametrize("wrong", [{"views": -1}, {"tile": 0}, {"mean": [1.0]}])
def test_impossible_settings_are_refused(folder, wrong):
    with pytest.raises(InputError):
        instantiate(Learned, {**load_option("codec", "scaling"), **load_learned(folder), **wrong})


def load_learned(folder):
    return {"_target_": "multidiff.codecs.learned.Learned", "path": str(folder)}
