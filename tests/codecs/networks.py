"""Autoencoders of a few weights, which differ from zero."""

import torch

from multidiff.codecs import KL
from multidiff.codecs.convolutional import ConvolutionalAutoencoder

IMAGE = {"dims": 2, "channels": 3, "strides": [2, 2], "widths": [8, 8], "blocks": [1, 1]}
SOUND = {"dims": 1, "channels": 2, "strides": [1, 4], "widths": [8, 8], "blocks": [1, 2], "kernel": 7, "snake": True}
VOLUME = {"dims": 3, "channels": 1, "strides": [2], "widths": [4], "blocks": [1]}
ALL = (IMAGE, SOUND, VOLUME)


def made(settings, bottleneck=None):
    """In float64; every weight counts."""
    torch.manual_seed(0)
    network = ConvolutionalAutoencoder(bottleneck=bottleneck or KL(2), **settings).double().eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network


def data_for(network, latents, batch=1):
    """Data that become ``latents`` along every axis."""
    return torch.randn(batch, network.channels, *[latents * network.factor] * network.dims).double()
