"""Autoencoders in tiles give the result of the whole, although attention and group norms see all of the picture."""

import diffusers
import pytest
import torch

from multidiff.pretrained.autoencoder import AutoencoderCodec
from multidiff.training.memory import _Live

TILED = 6
"""Latents along each axis of the tiles of the tests."""


def kl(**settings):
    return diffusers.AutoencoderKL(
        **{
            "block_out_channels": (4, 8, 8), "norm_num_groups": 2, "latent_channels": 4, "layers_per_block": 2,
            "down_block_types": ("DownEncoderBlock2D",) * 3, "up_block_types": ("UpDecoderBlock2D",) * 3, **settings,
        }
    )  # fmt: skip


def tiny():
    return diffusers.AutoencoderTiny(
        encoder_block_out_channels=(4, 4, 4), decoder_block_out_channels=(4, 4, 4), num_encoder_blocks=(1, 1, 1),
        num_decoder_blocks=(1, 1, 1), latent_channels=4,
    )  # fmt: skip


NETWORKS = {
    "kl": kl,
    "kl without convolutions of the posterior": lambda: kl(use_quant_conv=False, use_post_quant_conv=False),
    "tiny": tiny,
}


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_tiles_give_the_result_of_the_whole(make):
    torch.manual_seed(0)
    network = make().double().eval()
    whole, tiled = AutoencoderCodec(network), AutoencoderCodec(network, tile=TILED)
    latents = torch.randn(2, 4, 15, 10, dtype=torch.float64)
    pictures = torch.rand(2, 3, 60, 40, dtype=torch.float64) * 2 - 1
    for function in ("decode", "encode"):
        given = latents if function == "decode" else pictures
        expected, made = (getattr(codec, function)(given).detach() for codec in (whole, tiled))
        assert expected.std() > 1e-3
        assert (made - expected).abs().max() < 1e-12 * expected.abs().max()


def test_tiles_of_their_own_statistics_would_differ():
    """What the passes are for; so diffusers' own tiles differ, too."""
    torch.manual_seed(0)
    network = kl().double().eval()
    latents = torch.randn(1, 4, 15, 10, dtype=torch.float64)
    whole, part = AutoencoderCodec(network).decode(latents), AutoencoderCodec(network).decode(latents[..., :9, :])
    assert (whole[..., :4, :] - part[..., :4, :]).abs().max() > 1e-3 * whole.abs().max()


def test_attention_in_blocks_is_computed_as_a_whole():
    network = kl(up_block_types=("UpDecoderBlock2D", "AttnUpDecoderBlock2D", "UpDecoderBlock2D")).eval()
    latents = torch.randn(1, 4, 8, 8)
    assert torch.equal(AutoencoderCodec(network, tile=TILED).decode(latents), network.decode(latents / 0.18215).sample)


@pytest.mark.slow
def test_a_picture_of_sdxl_needs_384_bytes_a_pixel_besides_the_weights_and_a_tile():
    """Without values, and without the attention, which is at the lowest resolution: the device meta has another one."""
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    widths = (128, 256, 512, 512)
    with torch.device("meta"), torch.no_grad(), _Live() as live:
        network = kl(block_out_channels=widths, norm_num_groups=32, mid_block_add_attention=False, **blocks)
        made = AutoencoderCodec(network).decode(torch.empty(1, 4, 256, 256))
    assert made.shape == (1, 3, 2048, 2048)
    assert live.peak < 384 * 2048**2 + 1.2e9
