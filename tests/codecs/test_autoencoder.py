"""Autoencoders know their shapes and how far their latents reach; bottlenecks count what latents carry."""

import math

import pytest
import torch

from multidiff.codecs import KL, Bounded
from multidiff.codecs.convolutional import ConvolutionalAutoencoder
from multidiff.errors import InputError
from tests.codecs.networks import ALL, IMAGE, SOUND, VOLUME, data_for, made


@pytest.mark.parametrize("settings", ALL, ids=["image", "sound", "volume"])
def test_shapes_are_those_of_the_tensors(settings):
    network = made(settings)
    data = data_for(network, 3)
    latents = network.encode(data)
    shape = network.shape(tuple(data.shape[1:]))
    assert tuple(latents.shape[1:]) == shape
    assert tuple(network.decode(latents).shape[1:]) == network.data_shape(shape) == tuple(data.shape[1:])


def changed(function, x, place, factor):
    """The first and the last position of ``function(x)``, along its last axis, that depends on ``place``."""
    other = x.clone()
    other[..., place] += 1
    differences = (function(other) != function(x)).flatten(0, -2).any(dim=0).nonzero().flatten()
    return int(differences.min()), int(differences.max())


@pytest.mark.parametrize(("settings", "latents"), [(IMAGE, 24), (SOUND, 40), (VOLUME, 16)])
def test_nothing_depends_on_what_lies_beyond_the_reach(settings, latents):
    network = made(settings)
    reach, factor, middle = network.locality, network.factor, latents // 2
    x = data_for(network, latents)
    first, last = changed(network.encode, x, middle * factor, factor)
    assert max(middle - first, last - middle) <= math.ceil(reach.encoder_reach / factor)
    first, last = changed(network.decode, network.encode(x), middle, factor)
    beyond = max(middle * factor - first, last - (middle + 1) * factor + 1)
    assert beyond <= reach.decoder_reach * factor
    assert beyond > (reach.decoder_reach - 1) * factor - factor  # the bound is tight


def test_the_divergence_is_that_of_torch():
    mean, log_variance = torch.randn(2, 4, 3, 50, 50).unbind()
    latents = KL(3, weight=2.0)(torch.cat([mean, log_variance], dim=1))
    ours = torch.distributions.Normal(mean, (log_variance / 2).exp())
    theirs = torch.distributions.kl_divergence(ours, torch.distributions.Normal(0.0, 1.0))
    torch.testing.assert_close(latents.nats, theirs.mean(dim=(0, 2, 3)))
    torch.testing.assert_close(latents.penalty, 2 * theirs.mean())
    assert torch.equal(latents.values, mean)


def test_noise_has_the_deviation_that_the_bottleneck_says():
    generator, features = torch.Generator().manual_seed(0), torch.zeros(2, 2, 100, 100)
    assert abs(Bounded(2, noise=0.2)(features, generator).values.std() - 0.2) < 0.002
    features[:, 1] = 2 * math.log(3)
    assert abs(KL(1)(features, generator).values.std() - 3) < 0.03


def test_a_channel_that_is_constant_carries_nothing():
    features = torch.randn(2, 2, 64, 64)
    features[:, 1] = 0.3
    varied, constant = Bounded(2)(features).nats
    assert constant < 1e-6
    assert varied > 1


@pytest.mark.parametrize(
    ("settings", "shape", "message"),
    [
        (IMAGE, (1, 8, 8), r"data of 3 x N x N, and these are 1 x 8 x 8"),
        (IMAGE, (3, 8), r"data of 3 x N x N, and these are 3 x 8"),
        (IMAGE, (3, 2, 8), r"one latent of 4 positions along each axis, and the data are only 2 x 8"),
        (IMAGE, (3, 8, 10), r"multiples of 4, and the data are 8 x 10"),
        (SOUND, (1, 800), r"data of 2 x N, and these are 1 x 800"),
    ],
)
def test_data_that_do_not_fit_are_refused_with_both_shapes(settings, shape, message):
    with pytest.raises(InputError, match=message):
        made(settings).shape(shape)


def test_sounds_are_padded_at_their_end():
    network = made(SOUND)
    sound = torch.randn(1, 2, 4 * 10 + 1).double()
    padded = torch.cat([sound, torch.zeros(1, 2, 3).double()], dim=2)
    assert torch.equal(network.encode(sound), network.encode(padded))
    assert network.shape((2, 41)) == (2, 11)


@pytest.mark.parametrize("wrong", [{"strides": [2]}, {"kernel": 4}, {"strides": [0, 2]}, {"decoder_blocks": [1]}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="need"):
        ConvolutionalAutoencoder(bottleneck=KL(2), **{**IMAGE, **wrong})
