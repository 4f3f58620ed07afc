"""Pretrained image features from weight files on this machine. Nothing is downloaded."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from modalities.image.features import require_images, rgb_levels
from multidiff.data.files import sha256
from multidiff.errors import InputError
from multidiff.evaluation import Extractor, FeatureBatch, Reference
from multidiff.evaluation.local_weights import INSTALL, Pretrained, from_transformers, require_file

INCEPTION = "weights-inception-2015-12-05-6726825d.pth"
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OPENAI = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
"""Mean and standard deviation of pixels from 0 to 1 by channel, as the networks were trained."""


class Inception(Pretrained):
    """The 2048 features of FID: Inception-v3 in TensorFlow's version of 2015, by torch-fidelity.

    Args:
        weights: the file; by default in the folder ``weights`` of the cache.
    """

    default = INCEPTION

    def extractor(self, reference: Reference, device: torch.device) -> Extractor:
        require_images(reference)
        source = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{INCEPTION}"
        require_file(self.weights, "Inception-v3", source)
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3  # noqa: PLC0415
        except ImportError as error:
            raise InputError(f"features=inception needs torch-fidelity: {INSTALL}") from error
        try:
            torch.load(self.weights, weights_only=True)  # their loader below would run any code of the file
            network = FeatureExtractorInceptionV3("inception", ["2048"], str(self.weights)).to(device)
        except Exception as error:  # torch's loader raises any exception on a damaged file
            raise InputError(f"{self.weights} is damaged or not torch-fidelity's Inception-v3; get {source}") from error
        return Extractor(
            "inception",
            sha256(self.weights),
            "RGB in 8 bits; resized to 299 pixels within the network, bilinear as TensorFlow 1 does, not antialiased",
            partial(_inception, network, device),
        )


class DINOv2(Pretrained):
    """The class token of DINOv2, which agrees better with human judgement than Inception.

    Stein et al. (2023), https://arxiv.org/abs/2306.04675.

    Args:
        weights: a model folder as transformers saves it; by default ``weights/dinov2`` in the cache.
    """

    default = "dinov2"

    def extractor(self, reference: Reference, device: torch.device) -> Extractor:
        require_images(reference)
        network = from_transformers("Dinov2Model", self.weights, "https://huggingface.co/facebook/dinov2-large")
        return _transformer("dinov2", self.weights, network.to(device), 224, IMAGENET, _class_token)


class CLIP(Pretrained):
    """CLIP's image embedding, normalised to unit length: the features of CMMD, whose kernel width is 10.

    Jayasumana et al. (2024), https://arxiv.org/abs/2401.09603.

    Args:
        weights: a model folder as transformers saves it; by default ``weights/clip`` in the cache.
    """

    default = "clip"

    def extractor(self, reference: Reference, device: torch.device) -> Extractor:
        require_images(reference)
        home = "https://huggingface.co/openai/clip-vit-large-patch14-336"
        network = from_transformers("CLIPVisionModelWithProjection", self.weights, home)
        side = network.config.image_size
        return _transformer("clip", self.weights, network.to(device), side, OPENAI, _embedding, gaussian_width=10.0)


def _transformer(
    name: str,
    folder: Path,
    network: nn.Module,
    side: int,
    scale: tuple[tuple[float, ...], tuple[float, ...]],
    embed: Callable[[nn.Module, Tensor], Tensor],
    gaussian_width: float | None = None,
) -> Extractor:
    preprocessing = f"RGB in 8 bits; bicubic antialiased resize to {side} pixels; mean {scale[0]}, deviation {scale[1]}"
    extract = partial(_extract, network, side, scale, embed)
    return Extractor(name, sha256(folder / "model.safetensors"), preprocessing, extract, gaussian_width=gaussian_width)


@torch.no_grad()
def _inception(network: nn.Module, device: torch.device, images: Sequence[Image.Image]) -> FeatureBatch:
    (features,) = network(rgb_levels(images).to(device))
    return FeatureBatch(features.cpu())


@torch.no_grad()
def _extract(
    network: nn.Module,
    side: int,
    scale: tuple[tuple[float, ...], tuple[float, ...]],
    embed: Callable[[nn.Module, Tensor], Tensor],
    images: Sequence[Image.Image],
) -> FeatureBatch:
    mean, deviation = (torch.tensor(values)[:, None, None] for values in scale)
    x = (rgb_levels(images, side) / 255 - mean) / deviation
    return FeatureBatch(embed(network, x.to(next(network.parameters()).device)).cpu())


def _class_token(network: nn.Module, x: Tensor) -> Tensor:
    return network(x).last_hidden_state[:, 0]


def _embedding(network: nn.Module, x: Tensor) -> Tensor:
    return F.normalize(network(x).image_embeds, dim=1)
