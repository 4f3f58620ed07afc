"""Folders of small sounds and meshes."""

from pathlib import Path

import numpy as np
import soundfile
import trimesh


def tones(folder: Path, count: int) -> None:
    """Sines of 0.2 s at 8 kHz, each of another frequency."""
    for i in range(count):
        soundfile.write(folder / f"{i}.wav", np.sin(np.arange(1600) / (i + 3)), 8000)


def boxes(folder: Path, count: int) -> None:
    """Boxes, each of another width."""
    for i in range(count):
        trimesh.creation.box((1, 1 + i / 10, 1)).export(folder / f"{i}.ply")
