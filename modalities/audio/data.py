"""The built-in drums as training data."""

import hashlib

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from modalities.audio.clip import AudioClip
from modalities.audio.drums import DRUMS, SAMPLE_RATE, hit
from modalities.audio.modality import AudioModality
from modalities.audio.preparation import full_scale, sixteen_bits
from multidiff.data.dataset import Dataset
from multidiff.data.labels import Labels
from multidiff.errors import InputError


class Drums(Dataset):
    """Hits of the built-in drum machine, see `modalities.audio.drums`, with classes and captions.

    Args:
        modality: of the samples. Drums are synthesised at 16 kHz in mono, and converted if it differs.
        count: number of hits; the drums take turns.
        seconds: their length.
        seed: of parameters and noise. Hit i of a seed is the same, however many there are.

    Raises:
        InputError: a setting that cannot be used.
    """

    def __init__(self, modality: AudioModality, count: int = 4000, seconds: float = 1.0, seed: int = 0):
        if count < 1:
            raise InputError(f"data.count is the number of drum hits, at least 1, not {count}")
        self.modality = modality
        self.shape = (modality.channels, modality.samples(seconds))
        names, drums = tuple(DRUMS), [i % len(DRUMS) for i in range(count)]
        hits = [hit(names[drum], np.random.default_rng([seed, i]), seconds) for i, drum in enumerate(drums)]
        self.fields = {"label": Labels(drums, names), "caption": [each.captions for each in hits]}
        self.waveforms = sixteen_bits(np.stack([each.waveform for each in hits]))
        self.origin = hashlib.sha256(self.waveforms.tobytes()).hexdigest()

    def __len__(self) -> int:
        return len(self.waveforms)

    def data(self, index: int, random: np.random.Generator) -> Tensor:
        waveform = self.modality.to_data(AudioClip(full_scale(self.waveforms[index][None]), SAMPLE_RATE))
        return F.pad(waveform, (0, self.shape[1] - waveform.shape[1]))
