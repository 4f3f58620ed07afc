"""Codecs invert, know the shapes of both sides, and take their statistics from the data."""

import pickle

import pytest
import torch

from multidiff.codecs import Codec, Identity, Scaling
from multidiff.configuration import instantiate, load_option
from multidiff.errors import InputError

DATA = torch.randn(7, 6, 50, generator=torch.Generator().manual_seed(0)).double() * 3 + 5


def scaling(**settings):
    known = Scaling.settings_from(settings, list(DATA))
    return Scaling(**{**known, **settings})


@pytest.mark.parametrize("codec", [Identity(), scaling(), scaling(shared=3)], ids=["identity", "scaling", "shared"])
def test_decoding_inverts_encoding_and_shapes_are_known(codec):
    x0 = codec.encode(DATA)
    torch.testing.assert_close(codec.decode(x0), DATA)
    assert tuple(x0.shape[1:]) == codec.shape((6, 50))
    assert codec.data_shape(codec.shape((6, 50))) == (6, 50)
    assert not codec.state_dict()
    torch.testing.assert_close(pickle.loads(pickle.dumps(codec)).encode(DATA), x0)


def test_a_region_of_the_data_is_the_same_region_of_x0():
    mask = torch.zeros(6, 50, dtype=torch.bool)
    mask[:, 10:20] = True
    changed = torch.where(mask, DATA + 1, DATA)
    codec = scaling()
    assert torch.equal((codec.encode(changed) != codec.encode(DATA)).all(0), codec.region(mask))


def test_large_samples_are_computed_a_few_at_once():
    sizes = {8: 64, 64: 64, 512: 6, 1024: 1, 4096: 1}
    assert {size: Identity().at_once((3, size, size)) for size in sizes} == sizes


@pytest.mark.parametrize("unit", [1.0, 1e-6, 1e6])
def test_scaled_data_have_zero_mean_and_unit_deviation_in_any_unit(unit):
    known = Scaling.settings_from({}, list(unit * DATA))
    x0 = Scaling(**known).encode(unit * DATA).transpose(0, 1).flatten(1)
    assert x0.mean(dim=1).abs().max() < 1e-4  # the statistics are rounded to six digits
    assert (x0.std(dim=1, correction=0) - 1).abs().max() < 1e-4


@pytest.mark.parametrize(("value", "deviation"), [(0.0, 1e-3), (5.0, 5e-3)])
def test_a_constant_channel_is_not_amplified(value, deviation):
    constant = [torch.full((1, 50), value).double()] * 7
    assert Scaling.settings_from({}, constant) == {"mean": [value], "deviation": [deviation]}


def test_channels_that_share_a_deviation_keep_their_directions():
    stretched = DATA * torch.tensor([1.0, 2, 3, 1, 1, 9])[:, None]
    known = Scaling.settings_from({"shared": 3}, list(stretched))
    variance = stretched.transpose(0, 1).flatten(1).var(dim=1, correction=0)
    first, second = variance[:3].mean().sqrt().item(), variance[3:].mean().sqrt().item()
    assert known["deviation"] == pytest.approx([first] * 3 + [second] * 3, rel=1e-5)


def test_statistics_that_are_given_stay():
    assert Scaling.settings_from({"mean": [1.0], "deviation": [2.0]}, list(DATA)) == {}


@pytest.mark.parametrize(
    "wrong",
    [{"mean": [0.0]}, {"mean": [0.0], "deviation": [0.0]}, {"mean": [0.0, 1], "deviation": [1.0]}, {"shared": 0}],
)
def test_impossible_statistics_are_refused(wrong):
    with pytest.raises(InputError, match="Scaling: "):
        instantiate(Codec, {**load_option("codec", "scaling"), **wrong})


@pytest.mark.parametrize("config", [{"deviation": [2.0]}, {"mean": [0.0] * 6}, {"shared": 4}, {"shared": 0}])
def test_statistics_that_do_not_fit_the_data_are_refused(config):
    with pytest.raises(InputError, match=r"codec\.shared divides the 6 channels"):
        Scaling.settings_from(config, list(DATA))


def test_statistics_of_other_channels_are_refused():
    with pytest.raises(InputError, match="the codec scales 3 channels, and the data have 1"):
        Scaling([0.0] * 3, [1.0] * 3).shape((1, 8, 8))
