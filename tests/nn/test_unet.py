"""The U-Net of sequences, and settings of U-Nets. What every backbone does is in test_backbones.py."""

import pytest
import torch
from torch import nn

from multidiff.configuration import instantiate, load_option
from multidiff.nn.unet import UNet
from tests.backbones import BATCH, CHANNELS, WAVE, make_inputs, make_network


def test_a_gated_network_may_be_narrower_than_its_samples():
    channels = 2 * WAVE["widths"][0]
    network = UNet(channels=channels, gated=True, **WAVE)
    x = torch.randn(BATCH, channels, 30)
    assert not network(x, torch.zeros(BATCH)).any()
    nn.init.constant_(network.head.bias[channels:], 0.5)
    assert torch.equal(network(x, torch.zeros(BATCH)), 0.5 * x)


def test_output_shifts_with_the_input():
    """By multiples of the total stride, away from the ends."""
    network, (_, log_snr, cond), length, shift = make_network("UNet, 1D"), make_inputs("UNet, 1D"), 400, 40
    for block in network.modules():
        if hasattr(block, "out"):
            nn.init.zeros_(block.out.weight)  # global attention depends on the ends
            nn.init.zeros_(block.out.bias)
    x = torch.zeros(BATCH, CHANNELS, length)
    x[..., 150:200] = torch.randn(BATCH, CHANNELS, 50)
    out, later = network(x, log_snr, cond), network(x.roll(shift, -1), log_snr, cond)
    torch.testing.assert_close(later[..., 180:260], out[..., 180 - shift : 260 - shift], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("blocks", [[1], [1, 0], [1, 1, 1]])
def test_stages_must_agree(blocks):
    with pytest.raises(ValueError, match="blocks"):
        UNet(channels=1, **(WAVE | {"blocks": blocks}))


@pytest.mark.parametrize("strides", [[1], [2, 2], [1, 0]])
def test_strides_must_fit(strides):
    with pytest.raises(ValueError, match="strides"):
        UNet(channels=1, **(WAVE | {"strides": strides}))


@pytest.mark.parametrize("stem_kernel", [0, 2])
def test_the_stem_kernel_must_be_odd(stem_kernel):
    with pytest.raises(ValueError, match="stem_kernel"):
        UNet(channels=1, stem_kernel=stem_kernel, **WAVE)


@pytest.mark.parametrize(("stem_kernel", "frames"), [(1, 1), (3, 3)])
def test_the_stem_has_the_requested_receptive_field(stem_kernel, frames):
    torch.manual_seed(0)
    stem = UNet(channels=CHANNELS, stem_kernel=stem_kernel, **WAVE).stem
    x = torch.zeros(1, CHANNELS, 9)
    x[..., 4] = 1
    assert (stem(x) != stem(torch.zeros_like(x))).any(dim=1).sum() == frames


@pytest.mark.parametrize("name", ["unet1d", "unet1d_small"])
def test_the_presets_are_networks(name):
    network = instantiate(nn.Module, load_option("backbone", name), channels=1)
    x = torch.randn(1, 1, 300)
    assert network(x, torch.zeros(1)).shape == x.shape
