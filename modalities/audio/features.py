"""Features of sounds that need no download: a small network on mel spectrograms, trained on the reference data."""

import itertools
from collections.abc import Sequence
from functools import cached_property, lru_cache

import numpy as np
import torch
from scipy.cluster.vq import kmeans2, vq
from torch import Tensor, nn

from modalities.audio.clip import AudioClip
from modalities.audio.mel import FLOOR, MelSpectrograms, decibels
from multidiff.evaluation import Classification, LearnedFeatures, Reference, Task, has_classes
from multidiff.nn.norm import group_norm

KEPT = 8192
"""Spectrograms of the data that are kept in memory while an encoder trains."""

CLUSTERS = 16
CLUSTERED = 2000
"""Samples that the clusters are computed from."""


class ClipClassifier(nn.Module):
    """Convolutions on a log-mel spectrogram, mean and maximum pooling, and a linear layer.

    Power ``(B, C, BANDS, L)`` to features ``(B, D)`` and logits ``(B, K)``.

    Args:
        channels: C.
        classes: K.
        width: channels of the first convolutions; D is 8 times as many.
    """

    def __init__(self, channels: int, classes: int, width: int = 16):
        super().__init__()
        widths = [channels, width, 2 * width, 4 * width]
        self.layers = nn.Sequential(*(_layer(*pair) for pair in itertools.pairwise(widths)))
        self.head = nn.Linear(2 * widths[-1], classes)

    def forward(self, power: Tensor) -> tuple[Tensor, Tensor]:
        h = self.layers(decibels(power) / 40 + 1).flatten(2)
        features = torch.cat([h.mean(dim=-1), h.amax(dim=-1)], dim=1)
        return features, self.head(features)


class Sounds(Task):
    """The reference's clips, as mel spectrograms."""

    def __init__(self, reference: Reference):
        self.reference = reference
        self.mel = MelSpectrograms.of(reference.modality, reference.dataset.shape)
        self.preprocessing = f"{self.mel}; log-mel spectrogram"
        self._power = lru_cache(KEPT)(lambda index: self.inputs([reference.artifact(index)])[0])

    def network(self) -> nn.Module:
        return ClipClassifier(self.mel.channels, len(self.class_names))

    def inputs(self, artifacts: Sequence[AudioClip]) -> Tensor:
        return self.mel.power(artifacts)

    def fingerprints(self, inputs: Tensor) -> Tensor:
        return self.mel.fingerprints(inputs)

    def augmented(self, indices: Sequence[int], random: np.random.Generator | None) -> Tensor:
        """Samples ``(B, C, BANDS, L)``; with ``random``, each louder or softer and slightly earlier or later."""
        power = torch.stack([self._power(i) for i in indices])
        return power if random is None else moved(power, random)


class Classes(Classification, Sounds):
    """Classification of the data's classes."""

    def __init__(self, reference: Reference):
        super().__init__(reference)
        self.name = f"classification of sounds, {self.mel}"


class Clusters(Sounds):
    """Classification of the k-means clusters of spectrograms at equal peak power, as in the first stage of HuBERT.

    Hsu et al. (2021), section II, https://arxiv.org/abs/2106.07447.
    """

    of_the_data = False

    def __init__(self, reference: Reference):
        super().__init__(reference)
        self.class_names = tuple(map(str, range(min(CLUSTERS, len(reference.training) // 8))))
        self.name = f"classification of {len(self.class_names)} clusters of spectrograms, {self.mel}"

    def examples(self, indices: Sequence[int], random: np.random.Generator | None) -> tuple[Tensor, Tensor]:
        nearest, _ = vq(self._normalised(indices), self._centres)
        return self.augmented(indices, random), torch.from_numpy(nearest).long()

    @cached_property
    def _centres(self) -> np.ndarray:
        training = self.reference.training
        some = np.random.default_rng(0).permutation(training)[:CLUSTERED].tolist()
        return kmeans2(self._normalised(some), len(self.class_names), minit="++", rng=0)[0]

    def _normalised(self, indices: Sequence[int]) -> np.ndarray:
        power = self.augmented(indices, None)
        return self.mel.fingerprints(power / power.amax(dim=(1, 2, 3), keepdim=True).clamp(min=FLOOR)).double().numpy()


class Encoder(LearnedFeatures):
    """A small classifier trained on the training part of the reference; without classes, on clusters."""

    name = "audio_encoder"

    def task(self, reference: Reference) -> Task:
        return Classes(reference) if has_classes(reference) else Clusters(reference)


def moved(power: Tensor, random: np.random.Generator, reach: int = 2) -> Tensor:
    """``(B, C, BANDS, L)``, each with a gain from -10 to 2 dB, and up to ``reach`` frames earlier or later."""
    gains = 10 ** random.uniform(-1.0, 0.2, len(power))
    shifts = random.integers(-reach, reach + 1, len(power)).tolist()
    return torch.stack([float(g) * p.roll(shift, -1) for p, g, shift in zip(power, gains, shifts, strict=True)])


def _layer(in_channels: int, out_channels: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 5, stride=2, padding=2), group_norm(out_channels), nn.SiLU()
    )
