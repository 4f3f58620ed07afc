"""Spectrograms as codecs of sounds."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor
from torchaudio.functional import inverse_spectrogram, melscale_fbanks, spectrogram

from modalities.audio.waveform_codec import WaveformCodec, at_least_single, to_multiple
from multidiff.codecs.scaling import surveyed
from multidiff.configuration import instantiate

MOST_DECADES = 5.0
"""Largest change of the energy of a band in decoding, so that silence is never amplified into a sound."""

ROUNDING = 1e-4
"""Decades by which a band may differ from its energy and still agree with it."""


class STFT(WaveformCodec):
    """The complex short-time Fourier transform with compressed magnitudes: ``scale |z|^(power - 1) z``.

    Compression makes quiet parts, such as the decay of a drum, matter as they do to the ear; the phase is kept, so the
    inverse is exact up to rounding: Richter et al. (2022), section III, https://arxiv.org/abs/2208.05830. Frame i is
    centred on sample ``hop * i``; beyond the ends there is silence. The imaginary parts of the lowest and the highest
    frequency are 0 and take no channel: a frame is ``size`` numbers, real parts first. An arbitrary tensor need not be
    the spectrogram of any sound; its overlapping windows are then averaged. Lower precisions than float32 are raised to
    it inside, and waveforms of them are decoded in float32.

    Phases are measured from the start of each window, so that equal clicks have equal frames, or by one clock that
    starts with the sound, so that a steady tone has: its phase then turns by less than ``pi step / size`` a frame in
    the bin nearest to it.

    Args:
        size: samples of a Hann window, even.
        step: samples from one window to the next, which divides ``size`` at least twice.
        power: in (0, 1]; 1 does not compress.
        scale: brings the result to about unit scale.
        clock: whether phases are measured by one clock.

    Raises:
        ValueError: a value outside of these ranges.
    """

    window: Tensor

    def __init__(self, size: int, step: int, power: float = 0.5, scale: float = 1.0, clock: bool = False):
        super().__init__()
        if size % 2 or step < 1 or size % step or size < 2 * step:
            raise ValueError(f"size must be even and a multiple of step, at least twice step, got {size=}, {step=}")
        if not 0 < power <= 1 or scale <= 0:
            raise ValueError(f"power must be above 0 and at most 1, and scale above 0, got {power=}, {scale=}")
        self.size, self.power, self.scale, self.clock = size, power, scale, clock
        self.hop, self.width = step, size
        self.edge = size // 2 // step
        self.period = size // step if clock else 1
        self.register_buffer("window", torch.hann_window(size), persistent=False)

    def encode(self, data: Tensor) -> Tensor:
        return rearrange(fold(self.spectrum(at_least_single(data))), "b c k l -> b (c k) l").to(data.dtype)

    def decode(self, x0: Tensor) -> Tensor:
        return self.waveform(unfold(rearrange(at_least_single(x0), "b (c k) l -> b c k l", k=self.size)))

    def spectrum(self, data: Tensor) -> Tensor:
        """Waveforms ``(B, C, T)`` to compressed real and imaginary parts, ``(B, C, size / 2 + 1, L, 2)``."""
        z = spectrogram(
            to_multiple(data, self.hop),
            pad=0,
            window=self.window.to(data),
            n_fft=self.size,
            hop_length=self.hop,
            win_length=self.size,
            power=None,
            normalized="window",
            pad_mode="constant",
        )
        if self.clock:
            z = z * self._turns(z).conj()
        return torch.view_as_real(scale_magnitude(z, self.power) * self.scale)

    def waveform(self, parts: Tensor) -> Tensor:
        """The inverse of `spectrum`."""
        z = scale_magnitude(torch.view_as_complex(parts.contiguous()) / self.scale, 1 / self.power)
        if self.clock:
            z = z * self._turns(z)
        return inverse_spectrogram(
            z,
            self.samples(z.shape[-1]),
            pad=0,
            window=self.window.to(parts),
            n_fft=self.size,
            hop_length=self.hop,
            win_length=self.size,
            normalized="window",
            pad_mode="constant",
        )

    def frames(self, samples: int) -> int:
        return -(-samples // self.hop) + 1

    def samples(self, frames: int) -> int:
        return (frames - 1) * self.hop

    def touched(self, mask: Tensor) -> Tensor:
        return F.max_pool1d(mask, self.size, self.hop, padding=self.size // 2)

    def _turns(self, z: Tensor) -> Tensor:
        """Phase that a cosine in each bin, of phase 0 at sample 0, has where each window starts, as unit numbers."""
        bins = torch.arange(self.size // 2 + 1, device=z.device)
        starts = torch.arange(z.shape[-1], device=z.device) * self.hop - self.size // 2
        cycles = (bins[:, None] * starts % self.size).to(z.real.dtype) / self.size
        return torch.polar(torch.ones_like(cycles), 2 * torch.pi * cycles)


class BandEnergySTFT(STFT):
    """An STFT with the energies of ``bands`` frequency bands beside it, which decoding restores.

    Energies over time and frequency are a smooth picture of few numbers that is visible at higher noise levels than the
    sound itself. A model that generates both decides on the energies first and can follow them: Kouzelis et al. (2025),
    ReDi, section 3, https://arxiv.org/abs/2504.16064. Codecs that preserve energy decode a spectrum and its band
    energies likewise: CELT, RFC 6716, section 4.3.

    The energy channel of a band is ``energy_scale log10(1 + energy / floor)``, where energy is the mean of its squared
    compressed magnitudes: 0 in silence. Bands lie over the bins as those of the mel scale do at 16 kHz, half over their
    neighbours; the lowest and the highest bin belong to none.

    Energies far below the floor are not restored, and none above the loudest of the band in the training data: they
    are logarithms, which guidance extrapolates. Gains are averaged over ``smoothing`` frames, so that steady tones
    stay steady. Frames that agree with their energies are not changed, so that inpainting keeps the known part.

    Frames overlap, and generated ones whose phases differ lose energy where they are added. Iterations of Griffin and
    Lim (1984), https://doi.org/10.1109/TASSP.1984.1164317, make the phases of the changed frames agree.

    Args:
        size: as for `STFT`.
        step: as for `STFT`.
        power: as for `STFT`.
        scale: as for `STFT`.
        clock: as for `STFT`.
        bands: how many; each holds at least one bin.
        floor: the energy below which a band counts as silent, of compressed magnitudes times ``scale``.
        energy_scale: added to a channel for ten times the energy.
        smoothing: an odd number of frames; 1 does not smooth.
        loudest: the highest energy channel of each band in the data; None until they are known.
        iterations: of Griffin and Lim in decoding, each an inverse and a transform; 0 keeps the phases as they are.

    Raises:
        ValueError: a value outside of these ranges.
    """

    filters: Tensor
    loudest: Tensor

    def __init__(
        self,
        size: int,
        step: int,
        power: float = 0.5,
        scale: float = 1.0,
        clock: bool = False,
        bands: int = 32,
        floor: float = 0.001,
        energy_scale: float = 0.5,
        smoothing: int = 11,
        loudest: Sequence[float] | None = None,
        iterations: int = 0,
    ):
        super().__init__(size, step, power, scale, clock)
        if floor <= 0 or energy_scale <= 0:
            raise ValueError(f"floor and energy_scale must be above 0, got {floor} and {energy_scale}")
        if smoothing < 1 or smoothing % 2 == 0:
            raise ValueError(f"smoothing must be an odd number of frames, got {smoothing}")
        if iterations < 0:
            raise ValueError(f"iterations must be at least 0, got {iterations}")
        filters = melscale_fbanks(size // 2 + 1, 0.0, 8000.0, bands, 16000) if bands > 0 else torch.zeros(1, 1)
        if not filters.any(dim=0).all():
            raise ValueError(f"each of the bands must hold one of the {size // 2 + 1} bins, got {bands=}")
        if loudest is not None and len(loudest) != bands:
            raise ValueError(f"loudest has one energy for each of the {bands} bands, got {len(loudest)}")
        self.bands, self.floor, self.energy_scale, self.smoothing = bands, floor, energy_scale, smoothing
        self.iterations = iterations
        self.width = size + bands
        self.register_buffer("filters", filters, persistent=False)  # share of each band in each bin, (bins, bands)
        highest = torch.full((bands,), torch.inf) if loudest is None else torch.tensor(loudest)
        self.register_buffer("loudest", highest, persistent=False)

    @classmethod
    def settings_from(cls, config: Mapping[str, Any], data: Sequence[Tensor]) -> dict[str, Any]:
        """The loudest energies of the surveyed samples, rounded to four decimals."""
        if config.get("loudest") is not None:
            return {}
        codec = instantiate(cls, config)
        energies = (codec.energies(codec.spectrum(sample[None].float())) for sample in surveyed(data))
        loudest = torch.stack([each.amax(dim=(0, 1, 3)) for each in energies]).amax(dim=0)
        return {"loudest": [round(energy, 4) for energy in loudest.tolist()]}

    def encode(self, data: Tensor) -> Tensor:
        parts = self.spectrum(at_least_single(data))
        return rearrange(torch.cat([fold(parts), self.energies(parts)], dim=2), "b c k l -> b (c k) l").to(data.dtype)

    def decode(self, x0: Tensor) -> Tensor:
        frames = rearrange(at_least_single(x0), "b (c k) l -> b c k l", k=self.width)
        x, energies = frames.split([self.size, self.bands], dim=2)
        parts = unfold(x)
        own = self.energies(parts)
        missing, most = ((level - own) / self.energy_scale for level in (energies, self.loudest.to(own)[:, None]))
        apart = (missing.abs() > ROUNDING).any(dim=2, keepdim=True)
        decades = self._smoothed(missing, most, apart.to(missing))
        filters = self.filters.to(x)
        shares = filters / filters.sum(dim=1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)
        limit = MOST_DECADES * self.power
        gain = 10 ** (torch.einsum("kn,bcnl->bckl", shares, decades).clamp(-limit, limit) / 2)
        return self.waveform(self.consistent(parts * gain[..., None], apart))

    def consistent(self, parts: Tensor, free: Tensor) -> Tensor:
        """Real and imaginary parts of the same magnitudes with phases nearer to those of a sound.

        Args:
            parts: ``(B, C, size / 2 + 1, L, 2)``.
            free: the frames whose phases may change, boolean, ``(B, C, 1, L)``.
        """
        magnitudes = parts.norm(dim=-1, keepdim=True)
        for _ in range(self.iterations):
            phases = F.normalize(self.spectrum(self.waveform(parts)), dim=-1)
            parts = torch.where(free[..., None], magnitudes * phases, parts)
        return parts

    def _smoothed(self, decades: Tensor, most: Tensor, apart: Tensor) -> Tensor:
        """``(B, C, bands, L)``, at most ``most``, averaged over neighbouring frames that are ``apart``."""
        total, count = (
            F.avg_pool2d(values, (1, self.smoothing), stride=1, padding=(0, self.smoothing // 2))
            for values in (apart * decades.minimum(most), apart)
        )
        return apart * (total / count.clamp(min=1 / self.smoothing)).minimum(most)

    def energies(self, parts: Tensor) -> Tensor:
        """Energy channels: ``(B, C, size / 2 + 1, L, 2)`` to ``(B, C, bands, L)``."""
        filters = self.filters.to(parts)
        means = filters / filters.sum(dim=0)
        energy = torch.einsum("kn,bckl->bcnl", means, parts.square().sum(dim=-1))
        return self.energy_scale * torch.log10(1 + energy / self.floor)


def scale_magnitude(z: Tensor, power: float) -> Tensor:
    """``|z|^power`` with the phase of ``z``."""
    return z * z.abs().clamp(min=torch.finfo(z.real.dtype).tiny) ** (power - 1)


def fold(parts: Tensor) -> Tensor:
    """Real and imaginary parts ``(..., size / 2 + 1, L, 2)`` as ``(..., size, L)``, without those that are 0."""
    return torch.cat([parts[..., 0], parts[..., 1:-1, :, 1]], dim=-2)


def unfold(x: Tensor) -> Tensor:
    """The inverse of `fold`."""
    bins = x.shape[-2] // 2 + 1
    real, imaginary = x[..., :bins, :], F.pad(x[..., bins:, :], (0, 0, 1, 1))
    return torch.stack([real, imaginary], dim=-1)
