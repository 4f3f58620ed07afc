"""How a model sees a sound: samples, blocks of samples, or a spectrogram, each of which leads back to the sound."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor
from torchaudio.functional import melscale_fbanks
from torchaudio.transforms import InverseSpectrogram, Spectrogram

MOST_DECADES = 5.0
"""By how much decoding changes the energy of a band at most, so that no level makes a sound of what is hardly there."""

ROUNDING = 1e-4
"""Decades by which a band may differ from its level and still agree."""


class Frontend(ABC):
    """An invertible map from waveforms ``(C, T)`` to what a model works on, ``(C * width, frames)``.

    ``decode(encode(x))`` is x, with silence after it until its length is a multiple of ``hop``.

    Attributes:
        width: channels of the model for each channel of the sound.
        hop: samples from one frame to the next.
        edge: frames at either end of a sound that see what lies beyond it.
        period: frames after which the same sound looks the same again.
    """

    width: int
    hop: int
    edge: int = 0
    period: int = 1

    @abstractmethod
    def encode(self, waveform: Tensor) -> Tensor:
        """``(C, T)`` to ``(C * width, frames)``, at about unit scale."""

    @abstractmethod
    def decode(self, x: Tensor) -> Tensor:
        """The inverse of ``encode``, for any finite values: ``(C * width, frames)`` to ``(C, T)``."""

    @abstractmethod
    def frames(self, samples: int) -> int:
        """How many frames a sound of so many samples has."""

    @abstractmethod
    def samples(self, frames: int) -> int:
        """How many samples so many frames decode to."""

    @abstractmethod
    def touching(self, start: int, stop: int) -> range:
        """The frames that change with the samples from ``start`` to before ``stop``."""


@dataclass(frozen=True)
class PatchedWaveform(Frontend):
    """Blocks of ``patch`` samples as channels, times ``gain``: exact. A patch of 1 is the waveform itself.

    Args:
        patch: samples a block; a model on blocks of 16 is an order of magnitude faster than one on samples.
        gain: brings quiet sounds to the unit scale that noise has.
    """

    patch: int
    gain: float = 1.0

    def __post_init__(self) -> None:
        if self.patch < 1 or self.gain <= 0:
            raise ValueError(f"a patch has at least 1 sample, and a gain is above 0, got {self.patch} and {self.gain}")

    @property
    def width(self) -> int:  # type: ignore[override]
        return self.patch

    @property
    def hop(self) -> int:  # type: ignore[override]
        return self.patch

    def encode(self, waveform: Tensor) -> Tensor:
        return self.gain * rearrange(_to_multiple(waveform, self.patch), "c (l p) -> (c p) l", p=self.patch)

    def decode(self, x: Tensor) -> Tensor:
        return rearrange(x, "(c p) l -> c (l p)", p=self.patch) / self.gain

    def frames(self, samples: int) -> int:
        return -(-samples // self.patch)

    def samples(self, frames: int) -> int:
        return frames * self.patch

    def touching(self, start: int, stop: int) -> range:
        return range(start // self.patch, -(-stop // self.patch))


class Waveform(PatchedWaveform):
    """The samples themselves, times ``gain``: exact."""

    def __init__(self, gain: float = 1.0):
        super().__init__(1, gain)


@dataclass(frozen=True)
class STFT(Frontend):
    """The complex short-time Fourier transform with its magnitudes compressed: ``scale |z|^(power - 1) z``.

    Compression makes what is quiet, such as the tail of a drum, matter as it does to the ear; the phase is kept as it
    is, so the inverse is exact up to rounding, as is known of complex spectrograms since Richter et al. (2022), section
    III, https://arxiv.org/abs/2208.05830. Frame i is centred on sample ``hop * i``, what lies outside being silent. The
    imaginary parts of the lowest and the highest frequency are 0 and take no channel: a frame is ``size`` numbers, real
    parts first. An arbitrary tensor need not be the spectrogram of any sound; its overlaps are then averaged.

    Phases are measured either from the start of each window, so that the same click looks the same in every frame, or
    by one clock that starts with the sound, so that a tone does: its phase turns by less than
    ``pi step / size`` a frame in the bin nearest to it, rather than by anything at all.

    Args:
        size: samples of a Hann window, even.
        step: samples from one window to the next, which divides ``size`` at least twice.
        power: in (0, 1]; 1 does not compress.
        scale: brings the result to about unit scale.
        clock: whether phases are measured by one clock.
    """

    size: int
    step: int
    power: float = 0.5
    scale: float = 1.0
    clock: bool = False

    def __post_init__(self) -> None:
        if self.size % 2 or self.step < 1 or self.size % self.step or self.size < 2 * self.step:
            raise ValueError(f"the step divides the even size of the windows at least twice, got {self}")
        if not 0 < self.power <= 1 or self.scale <= 0:
            raise ValueError(f"the power is above 0 and at most 1, and the scale above 0, got {self}")

    @property
    def width(self) -> int:  # type: ignore[override]
        return self.size

    @property
    def hop(self) -> int:  # type: ignore[override]
        return self.step

    @property
    def edge(self) -> int:  # type: ignore[override]
        return self.size // 2 // self.step

    @property
    def period(self) -> int:  # type: ignore[override]
        return self.size // self.step if self.clock else 1

    def encode(self, waveform: Tensor) -> Tensor:
        z = self._analysis(_to_multiple(waveform, self.step))
        if self.clock:
            z = z * self._turns(z.shape[-1]).conj()
        parts = torch.view_as_real(_scale_magnitude(z, self.power) * self.scale)
        return rearrange(_fold(parts), "c k l -> (c k) l")

    def decode(self, x: Tensor) -> Tensor:
        parts = _unfold(rearrange(x, "(c k) l -> c k l", k=self.size))
        z = torch.view_as_complex(parts.contiguous()) / self.scale
        z = _scale_magnitude(z, 1 / self.power)
        if self.clock:
            z = z * self._turns(x.shape[-1])
        return self._synthesis(z, self.samples(x.shape[-1]))

    def frames(self, samples: int) -> int:
        return -(-samples // self.step) + 1

    def samples(self, frames: int) -> int:
        return (frames - 1) * self.step

    def touching(self, start: int, stop: int) -> range:
        reach = self.size // 2
        return range(max(0, (start - reach) // self.step + 1), -(-(stop + reach) // self.step))

    def _turns(self, frames: int) -> Tensor:
        """What a cosine at the centre of each bin, of phase 0 at sample 0, has turned by where each window starts."""
        bins, starts = torch.arange(self.size // 2 + 1), torch.arange(frames) * self.step - self.size // 2
        cycles = bins[:, None] * starts % self.size / self.size
        return torch.polar(torch.ones_like(cycles), 2 * torch.pi * cycles)

    @cached_property
    def _analysis(self) -> Spectrogram:
        return Spectrogram(self.size, hop_length=self.step, power=None, normalized="window", pad_mode="constant")

    @cached_property
    def _synthesis(self) -> InverseSpectrogram:
        return InverseSpectrogram(self.size, hop_length=self.step, normalized="window")


@dataclass(frozen=True)
class LevelledSTFT(STFT):
    """An STFT, and beside it how loud each of ``bands`` bands is, towards which decoding brings them.

    How loud a sound is, where and for how long, is a smooth picture of few numbers that shows through more noise than
    the sound does. A model that draws both at once, as ReDi draws pictures and their features, decides on the levels
    first and has them in sight for the rest: Kouzelis et al. (2025), section 3, https://arxiv.org/abs/2504.16064.
    Codecs that preserve energy decode a spectrum and its levels likewise: CELT, RFC 6716, section 4.3.

    A level is ``level_scale log10(1 + energy / floor)``, where energy is the mean of the squared compressed magnitudes
    of the band: 0 in silence. Bands lie over the bins as those of the mel scale do at 16 kHz, half over their
    neighbours; the lowest and the highest bin belong to none.

    What is far below the floor is left as it is. Gains are averaged over ``smoothing`` frames, so that steady tones
    stay steady. Frames that agree with their levels stay as they are, so that what is known of a sound is kept where
    another part of it is made anew.

    Args:
        bands: how many; each holds a bin at least.
        floor: the energy below which a band counts as silent, of compressed magnitudes times ``scale``.
        level_scale: how much one more decade of energy adds to a level.
        smoothing: an odd number of frames; 1 does not smooth.
    """

    bands: int = 32
    floor: float = 0.001
    level_scale: float = 0.5
    smoothing: int = 11

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.floor <= 0 or self.level_scale <= 0:
            raise ValueError(f"the floor and the scale of the levels are above 0, got {self}")
        if self.smoothing < 1 or self.smoothing % 2 == 0:
            raise ValueError(f"gains are smoothed over an odd number of frames, got {self}")
        if self.bands < 1 or not self._filters.any(dim=0).all():
            raise ValueError(f"each band holds a bin, and there are {self.size // 2 + 1} bins, got {self}")

    @property
    def width(self) -> int:  # type: ignore[override]
        return self.size + self.bands

    def encode(self, waveform: Tensor) -> Tensor:
        x = rearrange(super().encode(waveform), "(c k) l -> c k l", k=self.size)
        return rearrange(torch.cat([x, self._levels(_unfold(x))], dim=1), "c k l -> (c k) l")

    def decode(self, x: Tensor) -> Tensor:
        x, levels = rearrange(x, "(c k) l -> c k l", k=self.width).split([self.size, self.bands], dim=1)
        parts = _unfold(x)
        decades = self._smoothed((levels - self._levels(parts)) / self.level_scale)
        filters = self._filters.to(x)
        shares = filters / filters.sum(dim=1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)
        most = MOST_DECADES * self.power
        gain = 10 ** (torch.einsum("kb,cbl->ckl", shares, decades).clamp(-most, most) / 2)
        return super().decode(rearrange(_fold(parts * gain[..., None]), "c k l -> (c k) l"))

    def _smoothed(self, decades: Tensor) -> Tensor:
        """``(C, bands, L)``, averaged over frames nearby; frames that agree with their levels have no part in it."""
        apart = (decades.abs() > ROUNDING).any(dim=1, keepdim=True).to(decades)
        total, count = (
            F.avg_pool1d(values, self.smoothing, stride=1, padding=self.smoothing // 2)
            for values in (apart * decades, apart)
        )
        return apart * total / count.clamp(min=1 / self.smoothing)

    def _levels(self, parts: Tensor) -> Tensor:
        """Of each band: ``(C, size / 2 + 1, L, 2)`` to ``(C, bands, L)``."""
        filters = self._filters.to(parts)
        means = filters / filters.sum(dim=0)
        energy = torch.einsum("kb,ckl->cbl", means, parts.square().sum(dim=-1))
        return self.level_scale * torch.log10(1 + energy / self.floor)

    @cached_property
    def _filters(self) -> Tensor:
        """How much of each bin each band has, ``(size / 2 + 1, bands)``."""
        return melscale_fbanks(self.size // 2 + 1, 0.0, 8000.0, self.bands, 16000)


def _scale_magnitude(z: Tensor, power: float) -> Tensor:
    """``|z|^power`` with the phase of ``z``."""
    return z * z.abs().clamp(min=torch.finfo(z.real.dtype).tiny) ** (power - 1)


def _fold(parts: Tensor) -> Tensor:
    """Real and imaginary parts ``(C, size / 2 + 1, L, 2)`` as ``(C, size, L)``, without the two that are always 0."""
    return torch.cat([parts[..., 0], parts[:, 1:-1, :, 1]], dim=1)


def _unfold(x: Tensor) -> Tensor:
    """The inverse of ``_fold``."""
    bins = x.shape[1] // 2 + 1
    real, imaginary = x[:, :bins], F.pad(x[:, bins:], (0, 0, 1, 1))
    return torch.stack([real, imaginary], dim=-1)


def _to_multiple(waveform: Tensor, multiple: int) -> Tensor:
    return F.pad(waveform, (0, -waveform.shape[-1] % multiple))
