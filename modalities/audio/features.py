"""What sounds are compared by: a small network that learned to tell the classes of real clips apart."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchaudio.transforms import MelSpectrogram

from modalities.audio.clip import AudioClip
from multidiff.nn.norm import group_norm
from multidiff.training.dataset import Dataset

FLOOR = 1e-8
"""Mel power below which nothing is heard: -80 dB of a full-scale tone, about."""


class ClipClassifier(nn.Module):
    """Convolutions on a log-mel spectrogram, their mean and maximum over it, and a linear layer.

    Args:
        classes: names of the K classes.
        sample_rate: Hz; clips at another rate are resampled.
        seconds: that are looked at; clips are cut, or have silence after them.
        width: channels of the first convolutions; the features are D = 8 times as many.
    """

    def __init__(self, classes: Sequence[str], sample_rate: int, seconds: float, width: int = 16):
        super().__init__()
        self.classes = tuple(classes)
        self.sample_rate, self.length = sample_rate, round(seconds * sample_rate)
        self.mel = MelSpectrogram(sample_rate, n_fft=512, hop_length=128, n_mels=64, f_min=20.0)
        widths = [1, width, 2 * width, 4 * width]
        self.layers = nn.Sequential(*(_layer(*pair) for pair in itertools.pairwise(widths)))
        self.out = nn.Linear(2 * widths[-1], len(self.classes))

    def forward(self, waveforms: Tensor) -> Tensor:
        """Logits, ``(N, K)``, of mono waveforms ``(N, T)``."""
        return self.out(self.embed(waveforms))

    def embed(self, waveforms: Tensor) -> Tensor:
        """What the last layer sees, ``(N, D)``, of mono waveforms ``(N, T)``."""
        decibels = torch.log10(self.mel(waveforms) + FLOOR)[:, None] / 4 + 1
        h = self.layers(decibels).flatten(2)
        return torch.cat([h.mean(dim=-1), h.amax(dim=-1)], dim=1)

    def features(self, clips: Sequence[AudioClip]) -> np.ndarray:
        """``(N, D)`` in float32, for distances between sets of clips."""
        return self._batched(self.embed, clips)

    def logits(self, clips: Sequence[AudioClip]) -> np.ndarray:
        """``(N, K)`` in float32, the class of each clip being the largest."""
        return self._batched(self, clips)

    def accuracy(self, clips: Sequence[AudioClip], labels: Sequence[str]) -> float:
        """How often the class of a clip is the one in ``labels``."""
        found = self.logits(clips).argmax(axis=1)
        return float(np.mean([self.classes[k] == label for k, label in zip(found, labels, strict=True)]))

    @torch.no_grad()
    def _batched(self, function: Any, clips: Sequence[AudioClip], size: int = 64) -> np.ndarray:
        self.eval()
        parts = [self.waveforms(clips[start : start + size]) for start in range(0, len(clips), size)]
        return np.concatenate([function(part).numpy() for part in parts])

    def waveforms(self, clips: Sequence[AudioClip]) -> Tensor:
        """The clips as this network hears them, ``(N, T)``."""
        mono = [clip.with_channels(1).resampled(self.sample_rate).tensor()[0, : self.length] for clip in clips]
        return torch.stack([F.pad(wave, (0, self.length - len(wave))) for wave in mono])


def trained_classifier(
    clips: Sequence[AudioClip],
    labels: Sequence[str],
    *,
    seed: int = 0,
    steps: int = 300,
    batch_size: int = 32,
) -> ClipClassifier:
    """A classifier of real ``clips`` by their ``labels``, the same for the same clips and seed.

    Each clip is heard at another level and a little earlier or later each time, so that neither is learned.
    """
    classes = sorted(set(labels))
    random = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ClipClassifier(classes, clips[0].sample_rate, clips[0].seconds)
    waveforms = network.waveforms(clips)
    targets = torch.tensor([classes.index(label) for label in labels])
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps)
    network.train()
    for _ in range(steps):
        chosen = torch.from_numpy(random.integers(len(waveforms), size=batch_size))
        shift, gain = int(random.integers(-80, 81)), float(random.uniform(0.3, 1.2))
        loss = F.cross_entropy(network(gain * waveforms[chosen].roll(shift, -1)), targets[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def clips_of(dataset: Dataset, modality: Any, indices: Sequence[int]) -> tuple[list[AudioClip], list[str]]:
    """Samples of a labelled data set as clips, with their labels."""
    clips = [modality.to_artifact(dataset.x0(i, np.random.default_rng(i))) for i in indices]
    assert dataset.labels is not None
    return clips, [dataset.label_names[dataset.labels[i]] for i in indices]


def _layer(in_channels: int, out_channels: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 5, stride=2, padding=2), group_norm(out_channels), nn.SiLU()
    )
