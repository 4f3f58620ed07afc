"""Tiny pipelines with random weights, built and saved by diffusers and transformers themselves."""

import json
import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import diffusers
import pytest
import torch
import transformers
from tokenizers import pre_tokenizers

from tests.conditioners import encoders

LENGTH = 16
"""Tokens that the tiny CLIP reads at a time."""

SD_SCHEDULER = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "clip_sample": False,
    "set_alpha_to_one": True,
    "steps_offset": 1,
}


def tokenizer(folder):
    """CLIP's tokenizer without merges: each character is a token."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return transformers.CLIPTokenizer.from_pretrained(folder, model_max_length=LENGTH)


def text_encoder(width=16, projected=False):
    config = transformers.CLIPTextConfig(
        vocab_size=514, hidden_size=width, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=LENGTH, bos_token_id=0, eos_token_id=1, pad_token_id=1, projection_dim=12,
    )  # fmt: skip
    return (transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel)(config)


def unet(cross=16, **settings):
    return diffusers.UNet2DConditionModel(
        sample_size=8, in_channels=settings.pop("channels", 4), out_channels=4, block_out_channels=(8, 16),
        layers_per_block=1, norm_num_groups=4, cross_attention_dim=cross, attention_head_dim=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        **settings,
    )  # fmt: skip


def autoencoder(latent=4, **settings):
    return diffusers.AutoencoderKL(
        block_out_channels=(4, 8), norm_num_groups=2, latent_channels=latent, layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, **settings,
    )  # fmt: skip


def stable_diffusion(folder):
    """A Stable Diffusion 1.x or 2.x of some thousand weights, saved in ``folder``."""
    torch.manual_seed(0)
    pipeline = diffusers.StableDiffusionPipeline(
        vae=autoencoder(), text_encoder=text_encoder(), tokenizer=tokenizer(folder.parent), unet=unet(),
        scheduler=diffusers.DDIMScheduler(**SD_SCHEDULER),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    return _saved(pipeline, folder)


def stable_diffusion_xl(folder):
    """A Stable Diffusion XL of some thousand weights, saved in ``folder``."""
    torch.manual_seed(0)
    words = tokenizer(folder.parent)
    network = unet(
        cross=40, addition_embed_type="text_time", addition_time_embed_dim=8, use_linear_projection=True,
        projection_class_embeddings_input_dim=12 + 6 * 8,
    )  # fmt: skip
    pipeline = diffusers.StableDiffusionXLPipeline(
        vae=autoencoder(), text_encoder=text_encoder(), text_encoder_2=text_encoder(24, projected=True),
        tokenizer=words, tokenizer_2=words, unet=network, scheduler=diffusers.DDIMScheduler(**SD_SCHEDULER),
        add_watermarker=False,
    )  # fmt: skip
    return _saved(pipeline, folder)


def t5(folder, width):
    """A T5 encoder whose tokens are words and letters, and its tokenizer."""
    config = transformers.T5Config.from_pretrained(encoders.t5(folder), d_model=width)
    return transformers.T5EncoderModel(config).eval(), transformers.AutoTokenizer.from_pretrained(folder)


def stable_diffusion_3(folder, **scheduler):
    """A Stable Diffusion 3 of some thousand weights, saved in ``folder``."""
    torch.manual_seed(0)
    words = tokenizer(folder.parent)
    t5_encoder, t5_words = t5(folder.parent / "t5", 48)
    network = diffusers.SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, num_layers=2, attention_head_dim=8, num_attention_heads=2,
        joint_attention_dim=48, caption_projection_dim=16, pooled_projection_dim=24, out_channels=4,
        pos_embed_max_size=16,
    )  # fmt: skip
    pipeline = diffusers.StableDiffusion3Pipeline(
        transformer=network, scheduler=diffusers.FlowMatchEulerDiscreteScheduler(**scheduler),
        vae=autoencoder(shift_factor=0.06), text_encoder=text_encoder(projected=True), tokenizer=words,
        text_encoder_2=text_encoder(24, projected=True), tokenizer_2=words,
        text_encoder_3=t5_encoder, tokenizer_3=t5_words,
    )  # fmt: skip
    return _saved(pipeline, folder)


def flux(folder, *, distilled, **scheduler):
    """A Flux of some thousand weights, saved in ``folder``."""
    torch.manual_seed(0)
    t5_encoder, t5_words = t5(folder.parent / "t5", 16)
    network = diffusers.FluxTransformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=16, pooled_projection_dim=16, guidance_embeds=distilled, axes_dims_rope=(4, 4, 8),
    )  # fmt: skip
    pipeline = diffusers.FluxPipeline(
        transformer=network, scheduler=diffusers.FlowMatchEulerDiscreteScheduler(**scheduler),
        vae=autoencoder(shift_factor=0.06), text_encoder=text_encoder(), tokenizer=tokenizer(folder.parent),
        text_encoder_2=t5_encoder, tokenizer_2=t5_words,
    )  # fmt: skip
    return _saved(pipeline, folder)


def cosine_scheduler():
    """The scheduler of Stable Audio, whose module imports torchsde for the noise alone, which tests set themselves."""
    with pytest.MonkeyPatch.context() as patch:
        if find_spec("torchsde") is None:
            patch.setitem(sys.modules, "torchsde", ModuleType("torchsde"))
        module = import_module("diffusers.schedulers.scheduling_cosine_dpmsolver_multistep")
    return module.CosineDPMSolverMultistepScheduler


def stable_audio(folder):
    """A Stable Audio of some thousand weights that makes 0.512 s of stereo, saved in ``folder``."""
    torch.manual_seed(0)
    t5_encoder, t5_words = t5(folder.parent / "t5", 16)
    t5_words.model_max_length = LENGTH
    network = diffusers.StableAudioDiTModel(
        sample_size=64, in_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=2,
        num_key_value_attention_heads=1, out_channels=4, cross_attention_dim=16, time_proj_dim=8,
        global_states_input_dim=24, cross_attention_input_dim=12,
    )  # fmt: skip
    vae = diffusers.AutoencoderOobleck(
        encoder_hidden_size=8, downsampling_ratios=[2, 4], channel_multiples=[1, 2], decoder_channels=4,
        decoder_input_channels=4, audio_channels=2, sampling_rate=1000,
    )  # fmt: skip
    pipeline = diffusers.StableAudioPipeline(
        vae=vae, text_encoder=t5_encoder, tokenizer=t5_words, transformer=network,
        projection_model=diffusers.StableAudioProjectionModel(16, 12, 0, 512),
        scheduler=cosine_scheduler()(),
    )  # fmt: skip
    return _saved(pipeline, folder)


def _saved(pipeline, folder):
    pipeline.set_progress_bar_config(disable=True)
    pipeline.save_pretrained(folder, safe_serialization=True)
    return pipeline
