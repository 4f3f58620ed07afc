"""Features that papers use, from weight files on this machine. Nothing is ever downloaded."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from modalities.image.features import rgb_levels
from multidiff.errors import InputError
from multidiff.evaluation.features import Extractor, Features, Seen
from multidiff.evaluation.reference import Reference
from multidiff.files import sha256
from multidiff.training.cache import default_cache

INSTALL = "pip install 'multidiff-toolkit[features]'"
INCEPTION = "weights-inception-2015-12-05-6726825d.pth"
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OPENAI = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
"""Mean and deviation of the levels that the networks were trained with."""


class Inception(Features):
    """The 2048 features of FID: Inception-v3 in TensorFlow's version of 2015, as torch-fidelity has it.

    Args:
        weights: the file; by default in the folder ``weights`` of the cache.
    """

    def __init__(self, weights: str | Path | None = None):
        self.weights = _place(weights, INCEPTION)

    def extractor(self, reference: Reference, device: torch.device) -> Extractor:
        source = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{INCEPTION}"
        _require_weights(self.weights, self.weights.is_file(), "Inception-v3", source)
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3  # noqa: PLC0415
        except ImportError as error:
            raise InputError(f"features=inception needs torch-fidelity: {INSTALL}") from error
        try:
            torch.load(self.weights, weights_only=True)  # a file of weights alone: theirs below would run any code
            network = FeatureExtractorInceptionV3("inception", ["2048"], str(self.weights)).to(device)
        except Exception as error:  # torch's loader raises whatever a damaged file leads it to
            raise InputError(f"{self.weights} is damaged or not torch-fidelity's Inception-v3; get {source}") from error
        return Extractor(
            "inception",
            sha256(self.weights),
            "RGB in 8 bits; resized to 299 pixels within the network, bilinear as TensorFlow 1 does, not antialiased",
            partial(_inception, network, device),
        )


class DINOv2(Features):
    """The class token of DINOv2, which people's judgement follows better than Inception.

    Stein et al. (2023), https://arxiv.org/abs/2306.04675.

    Args:
        weights: a model folder as transformers saves it; by default ``weights/dinov2`` in the cache.
    """

    def __init__(self, weights: str | Path | None = None):
        self.weights = _place(weights, "dinov2")

    def extractor(self, reference: Reference, device: torch.device) -> Extractor:
        network = _from_transformers("Dinov2Model", self.weights, "https://huggingface.co/facebook/dinov2-large")
        return _transformer("dinov2", self.weights, network.to(device), 224, IMAGENET, _class_token)


class CLIP(Features):
    """CLIP's image embedding at unit length, the features of CMMD, whose kernel is 10 wide.

    Jayasumana et al. (2024), https://arxiv.org/abs/2401.09603.

    Args:
        weights: a model folder as transformers saves it; by default ``weights/clip`` in the cache.
    """

    def __init__(self, weights: str | Path | None = None):
        self.weights = _place(weights, "clip")

    def extractor(self, reference: Reference, device: torch.device) -> Extractor:
        home = "https://huggingface.co/openai/clip-vit-large-patch14-336"
        network = _from_transformers("CLIPVisionModelWithProjection", self.weights, home)
        side = network.config.image_size
        return _transformer("clip", self.weights, network.to(device), side, OPENAI, _embedding, gaussian_width=10.0)


def _place(weights: str | Path | None, name: str) -> Path:
    return default_cache() / "weights" / name if weights is None else Path(weights).expanduser()


def _require_weights(path: Path, there: bool, what: str, source: str) -> None:
    if not there:
        raise InputError(f"the weights of {what} are not at {path}: put {source} there, or give weights=PATH")


def _from_transformers(kind: str, folder: Path, source: str) -> Any:
    files = f"config.json and model.safetensors of {source}"
    there = (folder / "config.json").is_file() and (folder / "model.safetensors").is_file()
    if not there:
        raise InputError(f"the weights are not at {folder}/: put {files} there, or give weights=FOLDER")
    try:
        import transformers  # noqa: PLC0415
    except ImportError as error:
        raise InputError(f"features from {folder}/ need transformers: {INSTALL}") from error
    try:
        network, report = getattr(transformers, kind).from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except Exception as error:  # transformers raises whatever a damaged file leads it to
        raise InputError(f"{folder}/ does not hold a {kind}; it needs {files}") from error
    if report["missing_keys"]:
        raise InputError(f"{folder / 'model.safetensors'} lacks weights of a {kind}; it needs {files}")
    return network.eval().requires_grad_(False)


def _transformer(
    name: str,
    folder: Path,
    network: nn.Module,
    side: int,
    scale: tuple[tuple[float, ...], tuple[float, ...]],
    read: Callable[[nn.Module, Tensor], Tensor],
    gaussian_width: float | None = None,
) -> Extractor:
    preprocessing = f"RGB in 8 bits; bicubic antialiased resize to {side} pixels; mean {scale[0]}, deviation {scale[1]}"
    look = partial(_normalised, network, side, scale, read)
    return Extractor(name, sha256(folder / "model.safetensors"), preprocessing, look, gaussian_width=gaussian_width)


@torch.no_grad()
def _inception(network: nn.Module, device: torch.device, images: Sequence[Image.Image]) -> Seen:
    (features,) = network(rgb_levels(images).to(device))
    return Seen(features.cpu())


@torch.no_grad()
def _normalised(
    network: nn.Module,
    side: int,
    scale: tuple[tuple[float, ...], tuple[float, ...]],
    read: Callable[[nn.Module, Tensor], Tensor],
    images: Sequence[Image.Image],
) -> Seen:
    mean, deviation = (torch.tensor(values)[:, None, None] for values in scale)
    x = (rgb_levels(images, side) / 255 - mean) / deviation
    return Seen(read(network, x.to(next(network.parameters()).device)).cpu())


def _class_token(network: nn.Module, x: Tensor) -> Tensor:
    return network(x).last_hidden_state[:, 0]


def _embedding(network: nn.Module, x: Tensor) -> Tensor:
    return F.normalize(network(x).image_embeds, dim=1)
