"""The codec of shapes as a network: sets in, signed distances out."""

import pytest
import torch

from modalities.shape import latent_set
from modalities.shape.latent_set import LatentSet
from multidiff.codecs import KL
from multidiff.errors import InputError


def tiny(resolution=16, **settings):
    """A network of a few thousand random weights."""
    torch.manual_seed(0)
    sizes = {"latents": 8, "points": 32, "width": 16, "encoder_depth": 1, "decoder_depth": 1, "head_size": 8}
    network = LatentSet(KL(4), **{**sizes, "resolution": resolution, **settings})
    for parameter in network.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return network.requires_grad_(False)


def test_the_latents_do_not_depend_on_the_order_of_the_points():
    network, data = tiny(), torch.randn(2, 6, 32)
    latents = network.encode(data)
    assert latents.shape == (2, *network.shape((6, 32))) == (2, 4, 8)
    torch.testing.assert_close(network.encode(data[:, :, torch.randperm(32)]), latents)


def test_distances_do_not_depend_on_the_order_of_the_latents_or_on_other_queries():
    network, latents, queries = tiny(), torch.randn(2, 4, 8), torch.randn(2, 3, 10)
    distances = network.distances(latents, queries)
    torch.testing.assert_close(network.distances(latents[:, :, torch.randperm(8)], queries), distances)
    torch.testing.assert_close(network.distances(latents, queries[:, :, :4]), distances[:, :4])


def test_volumes_decoded_in_chunks_are_those_decoded_at_once(monkeypatch):
    network, latents = tiny(), torch.randn(2, 4, 8)
    whole = network.decode(latents)
    assert whole.shape == (2, *network.data_shape((4, 8))) == (2, 1, 16, 16, 16)
    monkeypatch.setattr(latent_set, "CHUNK", 100)
    torch.testing.assert_close(network.decode(latents), whole)


def test_data_beside_the_points_do_not_count():
    network, data = tiny(), torch.randn(1, 7, 40)
    data[:, 6, :32] = 0  # distances of the points
    assert torch.equal(network.encode(data), network.encode(data[:, :6, :32]))


@pytest.mark.parametrize("shape", [(3, 32), (6, 7), (1, 16, 16), (6, 32, 1, 1)])
def test_data_of_another_shape_are_refused(shape):
    with pytest.raises(InputError, match="encodes points with normals"):
        tiny().shape(shape)
    assert tiny().shape((1, 16, 16, 16)) == (4, 8)  # of a model directory


@pytest.mark.parametrize("settings", [{"latents": 33}, {"truncation": 0.0}, {"resolution": 8}])
def test_unusable_settings_are_refused(settings):
    with pytest.raises(InputError):
        tiny(**settings)
