"""`multidiff speedup` in seconds: fewer choices, each measured twice."""

from multidiff.diffusion import optimized_grid
from multidiff.sampling import speedup


def shorten(monkeypatch):
    monkeypatch.setattr(speedup, "REFERENCE", ("dpmpp_3m", 12))
    monkeypatch.setattr(speedup, "SAMPLERS", ("dpmpp_2m",))
    monkeypatch.setattr(speedup, "STEPS", (2, 8))
    monkeypatch.setattr(speedup, "REPEATS", 2)
    for module in (optimized_grid, speedup):
        monkeypatch.setattr(module, "CANDIDATES", 16)
    monkeypatch.setattr(speedup, "INTERVALS", ((-1.0, 1.0),))
