"""A codec that was trained: a frozen autoencoder, and the scale of its latents."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from multidiff.codecs.autoencoder import Autoencoder
from multidiff.codecs.base import Codec, Identity, Shape, at_once
from multidiff.codecs.directory import Trained, codec_hash, find_codec, load_codec
from multidiff.codecs.scaling import Scaling
from multidiff.codecs.tiles import in_tiles, up_to_multiple
from multidiff.configuration import target_class
from multidiff.errors import InputError
from multidiff.modality import Modality

log = logging.getLogger(__name__)

UNIT = (0.1, 10.0)
"""Standard deviations of latents outside of this range are far from 1, and reported."""

BLEED = 1
"""Latents beyond those of a changed position that count as changed. More change, by ever less: see docs/latents.md."""


class Learned(Codec):
    """Latents of a trained autoencoder, each channel minus its mean, divided by its standard deviation.

    The autoencoder is referred to by its directory and a hash. It is loaded when it is first used, shared by all that
    use it, computes in float32, and is neither trained nor saved with the model.

    Args:
        path: of its directory, or the name of one in the folder ``weights`` of the cache.
        sha256: of its weights and config; None until the data are known.
        mean: of each channel of the latents; None until the data are known.
        deviation: of each channel, above 0; None until the data are known.
        views: encoded versions of each sample that training keeps in the cache, each with its own augmentation; 0
            encodes each batch when it is loaded.
        tile: latents along each axis that are encoded and decoded at once, so that memory does not grow with samples.

    Raises:
        InputError: a number that cannot be used.
    """

    edge = BLEED
    lossy = True

    def __init__(
        self,
        path: str,
        sha256: str | None = None,
        mean: Sequence[float] | None = None,
        deviation: Sequence[float] | None = None,
        views: int = 1,
        tile: int = 128,
    ):
        super().__init__()
        if views < 0 or tile < 1:
            raise InputError(f"codec.views is at least 0 and codec.tile at least 1, got {views} and {tile}")
        self.path, self.sha256, self.views, self.tile = path, sha256, views, tile
        self.mean, self.deviation = mean, deviation
        self.scaling = Identity() if mean is None and deviation is None else Scaling(mean, deviation)

    @classmethod
    def settings_from(cls, config: Mapping[str, Any], data: Sequence[Tensor]) -> dict[str, Any]:
        """Directory and hash of the autoencoder, and the statistics of the latents over the surveyed samples."""
        directory = find_codec(str(config["path"]), config.get("sha256"))
        path = Path(str(config["path"])).expanduser().absolute()
        known = {
            "path": str(path if path.is_dir() else directory),
            "sha256": config.get("sha256") or codec_hash(directory),
        }
        codec = cls(known["path"], known["sha256"])
        codec.shape(tuple(data[0].shape))
        scales = Scaling.settings_from({**config, "shared": 1}, _Encoded(codec, data))
        far = [each for each in scales.get("deviation", []) if not UNIT[0] <= each <= UNIT[1]]
        if far:
            log.warning(
                "%d channels of the latents of %s have standard deviations far from 1, such as %.3g; they are "
                "standardised, but a codec with such latents is often one that carries too little or too much in them",
                len(far),
                directory,
                far[0],
            )
        return known | scales

    @cached_property
    def trained(self) -> Trained:
        """The autoencoder with its config; the first call reads it.

        Raises:
            InputError: it is missing, damaged, or another one than in training.
        """
        directory = find_codec(self.path, self.sha256)
        return load_codec(directory, self.sha256 or codec_hash(directory))

    @property
    def autoencoder(self) -> Autoencoder:
        """The frozen network."""
        return self.trained.network

    @property
    def identity(self) -> Mapping[str, Any]:
        return {name: getattr(self, name) for name in ("sha256", "mean", "deviation", "views")}

    def require(self, modality: Mapping[str, Any]) -> None:
        own, kind = self.trained.config["modality"], target_class(modality, Modality)
        made_for = target_class(own, Modality)
        if made_for is not kind:
            raise InputError(
                f"the codec {self.path} is of the modality {made_for.name}, and the data are of {kind.name}"
            )
        names = dict.fromkeys([*own, *modality])
        differing = [name for name in names if own.get(name) != modality.get(name) and name not in kind.file_settings]
        if differing:
            wanted, found = (_typed({name: each.get(name) for name in differing}) for each in (own, modality))
            raise InputError(
                f"the codec {self.path} was trained with {wanted}, and the data have {found}: set {wanted}, or train a "
                "codec on such data"
            )

    def shape(self, data_shape: Shape) -> Shape:
        return self.scaling.shape(self.autoencoder.shape(data_shape))

    def data_shape(self, shape: Shape) -> Shape:
        return self.autoencoder.data_shape(shape)

    def at_once(self, shape: Shape) -> int:
        if self.autoencoder.one_by_one:  # large data need not be generated in small batches
            return at_once(math.prod(shape))
        return super().at_once(shape)

    def decoding(self, data_shape: Shape) -> "Learned":
        changed = copy(self)
        changed.trained = replace(self.trained, network=self.autoencoder.decoding(data_shape))
        return changed

    def encode(self, data: Tensor) -> Tensor:
        return self.scaling.encode(self.latents(data))

    @torch.no_grad()
    def latents(self, data: Tensor) -> Tensor:
        """The latents of ``data`` as the autoencoder makes them, in float32.

        Raises:
            InputError: they are not finite.
        """
        network, data = self._on(data.device), data.float()
        where = network.locality
        if where is None or max(data.shape[2:]) <= self.tile * where.factor:
            latents = network.encode(data)
        else:
            padded = F.pad(data, (0, -data.shape[-1] % where.factor))
            margin = up_to_multiple(where.encoder_reach, where.factor)
            latents = in_tiles(network.encode, padded, self.tile * where.factor, margin, where.factor, shrinks=True)
        if not bool(latents.isfinite().all()):
            raise InputError(
                f"the codec {self.path} makes latents of these data that are not finite: train another one on such data"
            )
        return latents

    @torch.no_grad()
    def decode(self, x0: Tensor) -> Tensor:
        network, latents = self._on(x0.device), self.scaling.decode(x0.float())
        where = network.locality
        if where is None or max(latents.shape[2:]) <= self.tile:
            return network.decode(latents)
        return in_tiles(network.decode, latents, self.tile, where.decoder_reach, where.factor, shrinks=False)

    def region(self, mask: Tensor) -> Tensor:
        """The latents of which a position is true, and `BLEED` around them; all, if any is, without `Locality`."""
        where, shape = self.autoencoder.locality, self.shape(tuple(mask.shape))
        if where is None:
            return mask.any().expand(shape)
        any_channel = mask.any(dim=0)[None, None].float()
        padded = F.pad(any_channel, (0, -mask.shape[-1] % where.factor))
        pool = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[mask.ndim - 1]
        cells = pool(padded, where.factor)
        return pool(cells, 2 * BLEED + 1, 1, BLEED)[0].bool().expand(shape)

    def _on(self, device: torch.device) -> Autoencoder:
        return self.autoencoder.to(device)


def _typed(modality: Mapping[str, Any]) -> str:
    """Settings of a modality as on the command line."""
    plain = {name: json.dumps(value) for name, value in modality.items() if not isinstance(value, str)}
    return " ".join(f"modality.{name}={value}" for name, value in {**modality, **plain}.items())


class _Encoded(Sequence[Tensor]):
    """The latents of the data."""

    def __init__(self, codec: Learned, data: Sequence[Tensor]):
        self.codec, self.data = codec, data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: Any) -> Any:
        return self.codec.latents(self.data[index][None])[0]
