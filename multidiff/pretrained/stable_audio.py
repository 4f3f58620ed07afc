"""Stable Audio: a transformer on latents of sounds, with the states of T5 and the length of the sound."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from multidiff.conditioners import Conditioner, FieldConditioner
from multidiff.configuration import load_option
from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.denoiser import NetworkDenoiser, coefficients
from multidiff.diffusion.predictions import Prediction
from multidiff.diffusion.schedules import Cosine
from multidiff.errors import InputError
from multidiff.model import Model
from multidiff.pretrained.edm import edm_prediction, edm_sampler, is_logarithmic
from multidiff.pretrained.libraries import library
from multidiff.pretrained.oobleck import OobleckCodec
from multidiff.pretrained.parts import Opened, Parts
from multidiff.pretrained.text import Encoded, PromptConditioner, Tower
from multidiff.pretrained.vocabulary import Vocabulary

GUIDANCE, STEPS = 7.0, 100
"""Defaults of diffusers."""


class AudioTower(Tower):
    """T5 that does not read its padding, and the projection of its states, which are zero at the padding.

    Args:
        network: the encoder.
        vocabulary: of its tokenizer.
        projection: `StableAudioProjectionModel` of diffusers.
    """

    def __init__(self, network: Any, vocabulary: Vocabulary, projection: Any):
        super().__init__(network, vocabulary)
        self.width = projection.config.conditioning_dim
        self.projection: nn.Module = projection.text_projection

    def _computed(self, rows: list[list[int]]) -> Encoded:
        ids = torch.tensor(rows, device=self._device)
        read = ids != self.vocabulary.padding
        with torch.autocast(ids.device.type, enabled=False):
            states = self.network(input_ids=ids, attention_mask=read).last_hidden_state
            return self.projection(states) * read[:, :, None], None


class SecondsConditioner(FieldConditioner):
    """The length of the sound: tokens for its start, which is 0, and its end, and both as a vector.

    Args:
        projection: `StableAudioProjectionModel` of diffusers.
        longest: seconds that the model generates; also those of a sound without a length.
    """

    null_is_zero = False

    def __init__(self, projection: Any, longest: float):
        super().__init__("seconds", dropout=0.0)
        self.projection, self.longest = projection, longest
        self.token_dim = projection.config.conditioning_dim
        self.vector_dim = 2 * self.token_dim

    @classmethod
    def settings_from(cls, field: str, column: Sequence[Any] | None) -> dict[str, Any]:
        return {}

    def forward(self, values: Sequence[Any]) -> Conditioning:
        like = next(self.projection.parameters())
        ends = like.new_tensor([self.longest if value is None else self._accepted(value) for value in values])
        made = self.projection(start_seconds=torch.zeros_like(ends), end_seconds=ends)
        tokens = torch.cat([made.seconds_start_hidden_states, made.seconds_end_hidden_states], dim=1)
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        return Conditioning(tokens.flatten(1), tokens, mask)

    def check(self, value: Any) -> None:
        if value is not None:
            self._accepted(value)

    def describe(self) -> str:
        return f"a number up to {self.longest:.4g}"

    def _accepted(self, value: Any) -> float:
        try:
            seconds = float(value)
        except (TypeError, ValueError) as error:
            raise InputError(f"seconds is a number, got {value!r}") from error
        if not 0 < seconds <= self.longest:
            raise InputError(f"this model generates sounds of up to {self.longest:.4g} seconds, got seconds={value}")
        return seconds


class AudioConditioner(Conditioner):
    """The prompt, then the length; the null condition of the prompt has no tokens for the length either."""

    guided = "caption"

    def joined(self, encoded: Sequence[Conditioning]) -> Conditioning | None:
        prompt, length = encoded
        assert prompt.tokens is not None
        known = prompt.tokens.flatten(1).any(dim=1).to(prompt.tokens)[:, None, None]
        tokens = None if length.tokens is None else length.tokens * known
        return super().joined([prompt, Conditioning(length.vector, tokens, length.mask)])


class AudioDenoiser(NetworkDenoiser):
    """`StableAudioDiTModel` of diffusers, which reads the time, tokens, and a vector.

    Args:
        network: the transformer.
        prediction: what it was trained to predict.
        logarithmic: whether it reads a quarter of ``log(sigma / alpha)`` instead of t.
    """

    def __init__(self, network: Any, prediction: Prediction, logarithmic: bool = False):
        super().__init__(network, Cosine(), prediction)
        self.logarithmic = logarithmic
        self.rotary_dim = network.config.attention_head_dim // 2

    def output(
        self,
        x_t: Tensor,
        t: Tensor,
        cond: Conditioning | None = None,
        s: Tensor | None = None,
        scale: Tensor | None = None,
    ) -> Tensor:
        if s is not None or scale is not None:
            raise ValueError("this network takes neither a second time nor a guidance scale")
        if cond is None or cond.tokens is None or cond.mask is None or cond.vector is None:
            raise ValueError("this network needs the states of a text encoder and the length, also for the empty text")
        scaled = self.prediction.scale_input(x_t, *coefficients(self.schedule, t, x_t))
        time = (-self.schedule.log_snr(t) / 4 if self.logarithmic else t).to(x_t).expand(len(x_t))
        output = torch.empty_like(x_t)
        places = library("diffusers").models.embeddings.get_1d_rotary_pos_embed(
            self.rotary_dim, x_t.shape[-1] + 1, use_real=True, repeat_interleave_real=False
        )
        rotary = tuple(each.to(x_t.device) for each in places)
        for rows, prompts in cond.expand(len(x_t)).unpadded():
            assert prompts.tokens is not None
            assert prompts.vector is not None
            output[rows] = self.network(
                scaled[rows],
                time[rows],
                encoder_hidden_states=prompts.tokens.to(x_t),
                global_hidden_states=prompts.vector[:, None].to(x_t),
                rotary_embedding=rotary,
            ).sample
        return output


def stable_audio(parts: Parts) -> Opened:
    """The pipeline that ``parts`` make.

    Raises:
        InputError: they do not fit together, or the scheduler is of a kind that is not supported.
    """
    network, projection = parts.networks["transformer"], parts.networks["projection_model"]
    codec, config = OobleckCodec(parts.networks["vae"]), network.config
    encoder, width = parts.networks["text_encoder"], projection.config.conditioning_dim
    parts.check_widths(
        "transformer",
        {
            "in_channels": (config.in_channels, codec.channels, "the latents of the autoencoder have"),
            "cross_attention_input_dim": (config.cross_attention_input_dim, width, "the projection makes"),
            "global_states_input_dim": (config.global_states_input_dim, 2 * width, "the projection makes"),
        },
    )
    reads = projection.config.text_encoder_dim
    parts.check_widths("projection", {"text_encoder_dim": (reads, encoder.config.d_model, "the text encoder makes")})
    longest = config.sample_size * codec.hop / codec.sample_rate
    longest = min(longest, projection.config.max_value)
    tower = AudioTower(encoder, parts.vocabularies["text_encoder"], projection)
    prompts, seconds = PromptConditioner([tower], empty_is_zero=True), SecondsConditioner(projection, longest)
    conditioner = AudioConditioner({"caption": prompts, "seconds": seconds})
    prediction = edm_prediction(parts.scheduler)
    denoiser = AudioDenoiser(network, prediction, is_logarithmic(parts.scheduler))
    modality = {"sample_rate": codec.sample_rate, "stereo": codec.audio_channels == 2, "cut": True}
    return Opened(
        Model(codec, conditioner, denoiser),
        {**load_option("modality", "audio"), **modality},
        (codec.channels, config.sample_size),
        edm_sampler(parts.scheduler, STEPS),
        GUIDANCE,
    )
