"""VGGish: the network that the Fréchet audio distance was defined on, in the layout of torchvggish's weights.

Hershey et al. (2017), https://arxiv.org/abs/1609.09430; the distance: Kilgour et al. (2019),
https://arxiv.org/abs/1812.08466.
"""

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

SAMPLE_RATE = 16000
WINDOW, HOP, FFT = 400, 160, 512
"""Samples: 25 ms, 10 ms, and the transform that a window is padded to."""

BANDS, LOWEST, HIGHEST = 64, 125.0, 7500.0
FRAMES = 96
"""Of an example, which lasts 0.96 s."""

OFFSET = 0.01
"""Added before the logarithm."""

SHORTEST = WINDOW + (FRAMES - 1) * HOP
"""Samples of one example."""


class VGGish(nn.Module):
    """Examples ``(N, 1, FRAMES, BANDS)`` to 128 numbers each, ``(N, 128)``, before the last ReLU."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for widths in ((64,), (128,), (256, 256), (512, 512)):
            for width in widths:
                layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
                before = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        inside = before * (FRAMES // 16) * (BANDS // 16)
        self.embeddings = nn.Sequential(
            nn.Linear(inside, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 128)
        )

    def forward(self, examples: Tensor) -> Tensor:
        return self.embeddings(rearrange(self.features(examples), "n c t f -> n (t f c)"))  # TensorFlow's order


def examples(waveform: Tensor) -> Tensor:
    """Log-mel spectrograms of consecutive 0.96 s of ``waveform``, ``(T,)`` to ``(N, 1, FRAMES, BANDS)``.

    The remainder at the end is dropped, as published; a shorter sound is padded with silence.
    """
    padded = F.pad(waveform, (0, max(0, SHORTEST - len(waveform))))
    frames = padded.unfold(0, WINDOW, HOP) * torch.hann_window(WINDOW)
    magnitudes = torch.fft.rfft(frames, FFT).abs()
    log_mel = torch.log(magnitudes @ _mel_matrix() + OFFSET)
    whole = len(log_mel) // FRAMES * FRAMES
    return rearrange(log_mel[:whole], "(n t) f -> n 1 t f", t=FRAMES)


@cache
def _mel_matrix() -> Tensor:
    """From bins to bands, ``(FFT / 2 + 1, BANDS)``: triangles over the mel scale, not over Hz as torchaudio's are."""
    bins = _mel(np.linspace(0, SAMPLE_RATE / 2, FFT // 2 + 1))[:, None]
    edges = np.linspace(_mel(LOWEST), _mel(HIGHEST), BANDS + 2)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    weights = np.maximum(0, np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)))
    weights[0] = 0
    return torch.from_numpy(weights).float()


def _mel(hertz: float | np.ndarray) -> np.ndarray:
    return 1127 * np.log(1 + np.asarray(hertz) / 700)
