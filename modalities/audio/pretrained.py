"""Features of sounds that papers use, from weight files on this machine. Nothing is downloaded."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from modalities.audio import vggish
from modalities.audio.clip import AudioClip
from modalities.audio.mel import MelSpectrograms
from multidiff.data.files import sha256
from multidiff.errors import InputError
from multidiff.evaluation import Extractor, FeatureBatch, Reference
from multidiff.evaluation.local_weights import Pretrained, from_transformers, require_file

VGGISH = "vggish-10086976.pth"
CLAP_SECONDS = 10
"""Length of CLAP's input."""


class VGGish(Pretrained):
    """The 128 numbers of VGGish, without the last ReLU and without principal components, a clip's mean over its time.

    Args:
        weights: the file that torchvggish publishes; by default in the folder ``weights`` of the cache.
    """

    default = VGGISH

    def extractor(self, reference: Reference, device: torch.device) -> Extractor:
        mel = MelSpectrograms.of(reference.modality, reference.dataset.shape)
        source = f"https://github.com/harritaylor/torchvggish/releases/download/v0.1/{VGGISH}"
        require_file(self.weights, "VGGish", source)
        network = vggish.VGGish()
        try:
            network.load_state_dict(torch.load(self.weights, weights_only=True))
        except Exception as error:  # torch's loader raises any exception on a damaged file
            raise InputError(f"{self.weights} is damaged or not torchvggish's VGGish; get {source}") from error
        embed = partial(_vggish, network.eval().requires_grad_(False).to(device), device)
        return Extractor(
            "vggish",
            sha256(self.weights),
            f"mono, resampled to {vggish.SAMPLE_RATE} Hz; log-mel spectrograms of 0.96 s; their mean; {_copies(mel)}",
            partial(_extract, embed, mel, vggish.SAMPLE_RATE),
        )


class CLAP(Pretrained):
    """CLAP's embedding of sounds, at unit length; of a clip longer than 10 s, the mean over its parts.

    Wu et al. (2023), https://arxiv.org/abs/2211.06687.

    Args:
        weights: a model folder as transformers saves it; by default ``weights/clap`` in the cache.
    """

    default = "clap"

    def extractor(self, reference: Reference, device: torch.device) -> Extractor:
        mel = MelSpectrograms.of(reference.modality, reference.dataset.shape)
        home, settings = "https://huggingface.co/laion/clap-htsat-unfused", "preprocessor_config.json"
        network = from_transformers("ClapAudioModelWithProjection", self.weights, home, also=(settings,))
        from transformers import ClapFeatureExtractor  # noqa: PLC0415, seconds that only this should cost

        prepare = ClapFeatureExtractor.from_pretrained(self.weights, local_files_only=True)
        rate = prepare.sampling_rate
        return Extractor(
            "clap",
            sha256(self.weights / "model.safetensors"),
            f"mono, resampled to {rate} Hz; parts of {CLAP_SECONDS} s, repeated to fill it; {_copies(mel)}",
            partial(_extract, partial(_clap, network.to(device), device, prepare), mel, rate),
        )


def _copies(mel: MelSpectrograms) -> str:
    return f"fingerprints by the mel spectrogram, {mel}"


@torch.no_grad()
def _extract(
    embed: Callable[[Tensor], Tensor], mel: MelSpectrograms, rate: int, clips: Sequence[AudioClip]
) -> FeatureBatch:
    """``embed`` of each clip in mono at ``rate``, ``(T,)`` to ``(D,)``."""
    waveforms = [clip.with_channels(1).resampled(rate).tensor()[0] for clip in clips]
    features = torch.stack([embed(wave).cpu() for wave in waveforms])
    return FeatureBatch(features, fingerprints=mel.fingerprints(mel.power(clips)))


def _vggish(network: vggish.VGGish, device: torch.device, waveform: Tensor) -> Tensor:
    return network(vggish.examples(waveform).to(device)).mean(dim=0)


def _clap(network: Any, device: torch.device, prepare: Any, waveform: Tensor) -> Tensor:
    parts = [part.numpy() for part in waveform.split(CLAP_SECONDS * prepare.sampling_rate)]
    inputs = prepare(parts, sampling_rate=prepare.sampling_rate, return_tensors="pt")["input_features"]
    longer = torch.zeros(len(parts), 1, dtype=torch.bool)  # left to it, it picks one at random
    embeddings = network(inputs.float().to(device), is_longer=longer.to(device)).audio_embeds
    return F.normalize(F.normalize(embeddings, dim=1).mean(dim=0), dim=0)
