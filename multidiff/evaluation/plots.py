"""Plots as reproducible SVG text."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE: Any = {"svg.hashsalt": "multidiff", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}


def lines(points: Sequence[float], values: Mapping[str, Sequence[float]], label: str) -> str:
    """Plots of each of ``values`` over ``points``, side by side, on a logarithmic axis."""
    with _figure(2.8 * len(values)) as figure:
        for axis, (name, series) in zip(figure.subplots(1, len(values), squeeze=False)[0], values.items(), strict=True):
            axis.plot(points, series, "o-", markersize=4)
            axis.set(title=name, xlabel=label, xscale="log")
            axis.set_xticks(points, [f"{point:g}" for point in points])
            axis.minorticks_off()
            axis.grid(alpha=0.3)
        return _svg(figure)


def histogram(values: Mapping[str, Tensor], label: str) -> str:
    """The distributions of ``values``, ``(N,)`` each, in one plot."""
    with _figure(5.6) as figure:
        axis = figure.subplots()
        reach = (0.0, max(float(series.max()) for series in values.values()))
        for name, series in values.items():
            axis.hist(series.numpy(), bins=40, range=reach, density=True, alpha=0.5, label=name)
        axis.set(xlabel=label, yticks=[])
        axis.legend(frameon=False)
        return _svg(figure)


@contextmanager
def _figure(width: float) -> Iterator["Figure"]:
    """An empty figure in our style."""
    import matplotlib as mpl  # noqa: PLC0415  half a second, which only reports need
    from matplotlib.figure import Figure  # noqa: PLC0415

    with mpl.rc_context(STYLE):
        yield Figure(figsize=(width, 2.4), layout="constrained")


def _svg(figure: "Figure") -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]
