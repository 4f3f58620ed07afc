"""Plots as reproducible SVG text."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from torch import Tensor

STYLE: Any = {"svg.hashsalt": "multidiff", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}


def lines(points: Sequence[float], values: Mapping[str, Sequence[float]], label: str) -> str:
    """Plots of each of ``values`` over ``points``, side by side, on a logarithmic axis."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.8 * len(values), 2.4), layout="constrained")
        for axis, (name, series) in zip(figure.subplots(1, len(values), squeeze=False)[0], values.items(), strict=True):
            axis.plot(points, series, "o-", markersize=4)
            axis.set(title=name, xlabel=label, xscale="log")
            axis.set_xticks(points, [f"{point:g}" for point in points])
            axis.minorticks_off()
            axis.grid(alpha=0.3)
        return _svg(figure)


def histogram(values: Mapping[str, Tensor], label: str) -> str:
    """The distributions of ``values``, ``(N,)`` each, in one plot."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.6, 2.4), layout="constrained")
        axis = figure.subplots()
        reach = (0.0, max(float(series.max()) for series in values.values()))
        for name, series in values.items():
            axis.hist(series.numpy(), bins=40, range=reach, density=True, alpha=0.5, label=name)
        axis.set(xlabel=label, yticks=[])
        axis.legend(frameon=False)
        return _svg(figure)


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]
