"""Multichannel time series from CSV files: a header with the channels, then one row a time step."""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from multidiff.errors import InputError
from multidiff.evaluation import Extractor, FeatureBatch, Features, Reference
from multidiff.modality import File, Modality, Preparation, name_of

COMMENT = "# multidiff "


class SeriesPreparation(Preparation):
    """Windows of ``length`` time steps, at another place each time."""

    suffixes = (".csv",)

    def __init__(self, modality: "SeriesModality", length: int):
        if length < 2:
            raise InputError(f"data.length is a number of time steps, at least 2, not {length}")
        self.modality, self.length = modality, length
        self.shape = (modality.channels, length)
        self.settings = {"kind": "timeseries", "channels": modality.channels, "length": length}

    def prepare(self, file: File) -> np.ndarray:
        series = self.modality.read(file)
        if series.shape[1] < self.length:
            raise InputError(f"{name_of(file)}: {series.shape[1]} time steps, fewer than data.length={self.length}")
        return series

    def sample(self, prepared: np.ndarray, random: np.random.Generator) -> Tensor:
        start = int(random.integers(prepared.shape[1] - self.length + 1))
        return torch.from_numpy(prepared[:, start : start + self.length].copy())


class SeriesModality(Modality[np.ndarray]):
    """Series as float32 arrays ``(channels, time steps)``."""

    name = "timeseries"
    suffixes = (".csv",)
    preparation = SeriesPreparation
    features = "spectrum"

    def __init__(self, channels: int):
        self.channels = channels

    def read(self, file: File) -> np.ndarray:
        try:
            text = file.read_text("utf-8") if isinstance(file, Path) else io.TextIOWrapper(file, "utf-8").read()
            table = np.loadtxt(io.StringIO(text.partition("\n")[2]), np.float32, delimiter=",", ndmin=2)
        except (OSError, ValueError) as error:
            raise InputError(f"{name_of(file)}: not a table of numbers ({error})") from error
        if table.shape[1] != self.channels or not np.isfinite(table).all():
            raise InputError(
                f"{name_of(file)}: expected finite numbers in {self.channels} columns, got {table.shape[1]}"
            )
        return table.T

    def write(self, artifact: np.ndarray, path: Path, metadata: Mapping[str, Any]) -> None:
        header = ",".join(f"channel_{i}" for i in range(self.channels))
        np.savetxt(path, artifact.T, "%.6g", delimiter=",", header=header, comments="", encoding="utf-8")
        with path.open("a", encoding="utf-8") as file:
            file.write(COMMENT + json.dumps(dict(metadata)) + "\n")

    def metadata(self, path: Path) -> dict[str, Any]:
        last = path.read_text("utf-8").rstrip().rpartition("\n")[2]
        return json.loads(last.removeprefix(COMMENT)) if last.startswith(COMMENT) else {}

    def to_data(self, artifact: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(artifact, dtype=np.float32))

    def to_artifact(self, data: Tensor) -> np.ndarray:
        return data.cpu().float().numpy()

    def preview(self, artifacts: Sequence[np.ndarray]) -> Image.Image:
        figure, axes = plt.subplots(len(artifacts), 1, figsize=(6, len(artifacts)), squeeze=False, sharex=True)
        for axis, series in zip(axes[:, 0], artifacts, strict=True):
            axis.plot(series.T, linewidth=1)
        file = io.BytesIO()
        figure.savefig(file, format="png")
        plt.close(figure)
        return Image.open(file)

    def settings_for(self, shape: Sequence[int]) -> dict[str, Any]:
        return {"length": shape[-1]}


class Spectrum(Features):
    """Mean, standard deviation and log power spectrum of each channel: no network, no download."""

    def __init__(self, bands: int = 8):
        self.bands = bands

    def extractor(self, reference: Reference, device: torch.device) -> Extractor:
        def extract(series: Sequence[np.ndarray]) -> FeatureBatch:
            x = torch.from_numpy(np.stack(series)).double()
            power = torch.fft.rfft(x - x.mean(2, keepdim=True)).abs().square()
            bands = torch.nn.functional.adaptive_avg_pool1d(power, self.bands)
            return FeatureBatch(torch.cat([x.mean(2), x.std(2), (bands + 1e-6).log().flatten(1)], dim=1))

        version = hashlib.sha256(f"spectrum 1, {self.bands} bands".encode()).hexdigest()
        return Extractor("spectrum", version, "none", extract)
