"""Files of pretrained feature networks, as their authors save them, with random weights and small where possible."""

import pytest
import torch
from torch import nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from transformers import (
    ClapAudioConfig,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    ClapTextConfig,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    Dinov2Config,
    Dinov2Model,
)

from modalities.audio import vggish

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


def save_inception(path):
    """Random weights of the real network, saved as torch-fidelity publishes its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "load", lambda *_, **__: {})
        patch.setattr(nn.Module, "load_state_dict", lambda *_, **__: None)
        torch.save(FeatureExtractorInceptionV3("random", ["2048"], "none").state_dict(), path)


def save_dinov2(folder):
    torch.manual_seed(0)
    network = Dinov2Model(Dinov2Config(**SMALL, image_size=28, patch_size=14)).eval()
    network.save_pretrained(folder)
    return network


def save_clip(folder):
    torch.manual_seed(0)
    config = CLIPVisionConfig(**SMALL, intermediate_size=32, image_size=28, patch_size=14, projection_dim=8)
    network = CLIPVisionModelWithProjection(config).eval()
    network.save_pretrained(folder)
    return network


def save_vggish(path):
    """Every layer takes the mean of its input, and so does the network; one number a layer on disk."""
    state = {}
    for name, value in vggish.VGGish().state_dict().items():
        mean = 1 / value[0].numel() if name.endswith("weight") else 0
        state[name] = torch.tensor(mean).expand(value.shape)
    torch.save(state, path)


def save_clap(folder):
    """A small CLAP as transformers saves it, with the preprocessing of the real one."""
    sounds = ClapAudioConfig(
        depths=[1, 1], num_attention_heads=[1, 1], num_hidden_layers=2, patch_embeds_hidden_size=8, hidden_size=16
    )
    words = ClapTextConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    torch.manual_seed(0)
    network = ClapModel(ClapConfig(text_config=words, audio_config=sounds, projection_dim=6)).eval()
    network.save_pretrained(folder)
    ClapFeatureExtractor(truncation="rand_trunc").save_pretrained(folder)
    return network
