"""Pictures of sounds: waveform above log-mel spectrogram."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torchaudio.transforms import MelSpectrogram

from modalities.audio.clip import AudioClip

WIDTH, WAVE_HEIGHT, MEL_HEIGHT = 160, 40, 80
"""Pixels of a waveform and of a spectrogram."""

LEFT, BELOW, GAP = 34, 16, 8
"""Margins for the axis labels, and the space between clips, in pixels."""

FLOOR = -80
"""dB below the loudest bin of all clips at which the spectrograms are black."""

MEL_BANDS, LOWEST = 40, 20.0
"""Bands of a spectrogram, and the lowest frequency in Hz, unless a clip reaches hardly higher."""

HERTZ = (100, 500, 2000, 6000, 16000)
"""Frequencies of the ticks, as far as the clips reach."""

PAPER, INK, WAVE = (255, 255, 255), (70, 70, 70), (31, 100, 180)
_HEAT = np.array([[0, 0, 4], [80, 18, 123], [182, 54, 121], [251, 136, 97], [252, 253, 191]])
"""Five colours of matplotlib's magma, from quiet to loud."""


def sound_sheet(clips: Sequence[AudioClip]) -> Image.Image:
    """The clips in reading order on a grid, each as its waveform, at full scale, above its log-mel spectrogram.

    All spectrograms share one colour scale, so that their loudness can be compared. Stereo is shown as the mean.

    Raises:
        ValueError: no clips are given.
    """
    if not clips:
        raise ValueError("a preview needs at least one clip")
    mono = [clip.with_channels(1) for clip in clips]
    powers = [mel_power(clip) for clip in mono]
    loudest = max(*(power.max() for power in powers), 1e-10)
    columns = math.ceil(math.sqrt(len(clips)))
    rows = math.ceil(len(clips) / columns)
    cell_width, cell_height = LEFT + WIDTH + GAP, GAP + WAVE_HEIGHT + MEL_HEIGHT + BELOW
    sheet = Image.new("RGB", (columns * cell_width + GAP, rows * cell_height + GAP), PAPER)
    for i, (clip, power) in enumerate(zip(mono, powers, strict=True)):
        row, column = divmod(i, columns)
        left, top = LEFT + column * cell_width, GAP + row * cell_height
        sheet.paste(_wave(clip), (left, top))
        sheet.paste(_heat(power / loudest), (left, top + WAVE_HEIGHT))
        _draw_axes(ImageDraw.Draw(sheet), left, top, clip)
    return sheet


def mel_power(clip: AudioClip) -> np.ndarray:
    """The mel power spectrogram of a mono clip, ``(MEL_BANDS, frames)``, of at most about `WIDTH` frames."""
    hop = max(32, math.ceil(clip.waveform.shape[1] / WIDTH))
    window = max(hop, 2 ** round(math.log2(clip.sample_rate / 40)))
    mel = MelSpectrogram(
        clip.sample_rate,
        window,
        hop_length=hop,
        n_mels=MEL_BANDS,
        f_min=_lowest(clip),
        f_max=clip.sample_rate / 2,
        norm="slaney",
        pad_mode="constant",
    )
    return mel(clip.tensor())[0].numpy()


def mels(hertz: float) -> float:
    """A frequency on the mel scale of HTK, on which the bands are equally wide. O'Shaughnessy (1987), page 150."""
    return 2595 * math.log10(1 + hertz / 700)


def _lowest(clip: AudioClip) -> float:
    """The lowest frequency of its spectrogram in Hz: at most a quarter of the highest."""
    return min(LOWEST, clip.sample_rate / 8)


def _wave(clip: AudioClip) -> Image.Image:
    """From the smallest to the largest sample in each column of pixels."""
    image = Image.new("RGB", (WIDTH, WAVE_HEIGHT), (244, 246, 249))
    draw = ImageDraw.Draw(image)
    middle = (WAVE_HEIGHT - 1) / 2
    for x, part in enumerate(np.array_split(np.clip(clip.waveform[0], -1, 1), WIDTH)):
        if part.size:
            draw.line((x, middle - middle * part.max(), x, middle - middle * part.min()), fill=WAVE)
    return image


def _heat(power: np.ndarray) -> Image.Image:
    """Power relative to the maximum as colours, low frequencies at the bottom."""
    decibels = 10 * np.log10(np.maximum(power, 10 ** (FLOOR / 10)))
    places = (1 - decibels[::-1] / FLOOR) * (len(_HEAT) - 1)
    channels = [np.interp(places, range(len(_HEAT)), _HEAT[:, c]) for c in range(3)]
    pixels = np.stack(channels, axis=-1).round().astype(np.uint8)
    return Image.fromarray(pixels).resize((WIDTH, MEL_HEIGHT), Image.Resampling.NEAREST)


def _draw_axes(draw: ImageDraw.ImageDraw, left: int, top: int, clip: AudioClip) -> None:
    """Ticks: full scale beside the waveform, frequencies beside the spectrogram, seconds below."""
    font = ImageFont.load_default(9)
    bottom = top + WAVE_HEIGHT + MEL_HEIGHT
    lowest, highest = mels(_lowest(clip)), mels(clip.sample_rate / 2)
    _draw_tick(draw, left, top, "1", font)
    for hertz in HERTZ:
        place = (mels(hertz) - lowest) / (highest - lowest)
        if 0 <= place <= 0.95:
            y = bottom - 1 - place * (MEL_HEIGHT - 1)
            text = f"{hertz // 1000}k" if hertz >= 1000 else str(hertz)
            _draw_tick(draw, left, y, f"{text} Hz" if hertz == HERTZ[0] else text, font)
    for part, anchor in ((0.0, "la"), (0.5, "ma"), (1.0, "ra")):
        x = left + round(part * (WIDTH - 1))
        draw.line((x, bottom, x, bottom + 2), fill=INK)
        text = f"{part * clip.seconds:.2g}"
        draw.text((x, bottom + 3), f"{text} s" if part == 1 else text, fill=INK, font=font, anchor=anchor)


def _draw_tick(draw: ImageDraw.ImageDraw, left: int, y: float, text: str, font: Any) -> None:
    draw.line((left - 3, y, left - 1, y), fill=INK)
    draw.text((left - 5, y), text, fill=INK, font=font, anchor="rm")
