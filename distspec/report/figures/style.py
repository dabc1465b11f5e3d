"""How every figure looks: sizes, colours, class names, and labels that keep out of each other's way.

Classes wear Tol's colour-blind-safe "muted" scheme (SRON/EPS/TN/09-002); past nine classes a marker
tells equal colours apart, and the map names each class by its number.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from typing import ParamSpec

import matplotlib as mpl
import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from distspec.core.colors import CLASS_COLORS, MUTED_COLOR
from distspec.core.spectrum import Floats

P = ParamSpec("P")
FIGURE_WIDTH = 7.2  # [inch] a journal's two columns
DPI = 200
CLASS_MARKERS = "o^sDvP"


def report_style() -> AbstractContextManager[None]:
    """Return a context in which matplotlib draws in the report's style."""
    return mpl.rc_context(
        {
            "font.family": "DejaVu Sans",  # ships with matplotlib: the same figure on every machine
            "font.size": 7.5,
            "axes.titlesize": 7.0,
            "axes.labelsize": 7.5,
            "axes.linewidth": 0.6,
            "axes.edgecolor": "#444444",
            "xtick.labelsize": 6.5,
            "ytick.labelsize": 6.5,
            "xtick.major.width": 0.6,
            "ytick.major.width": 0.6,
            "xtick.major.size": 2.5,
            "ytick.major.size": 2.5,
            "xtick.direction": "in",
            "ytick.direction": "in",
            "legend.fontsize": 6.5,
            "legend.frameon": False,
            "figure.constrained_layout.use": True,
        }
    )


def with_report_style(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw in the report's style, and leave matplotlib's settings as they were."""

    @wraps(draw)
    def inner(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with report_style():
            return draw(*args, **kwargs)

    return inner


def to_png(figure: Figure) -> bytes:
    """Render a figure as a PNG file's bytes."""
    file = io.BytesIO()
    with report_style():  # ticks are made, and read their style, only when drawn
        FigureCanvasAgg(figure).print_png(file, metadata={"Software": None})
    return file.getvalue()


def float_column(table: pa.Table, name: str) -> Floats:
    """Return a table's numeric column, (n,) float64: nulls become NaN."""
    return np.asarray(table[name].cast("float64").to_numpy(), float)


def get_cluster_labels(table: pa.Table) -> NDArray[np.int64]:
    """Return the column ``cluster_label``, (n,): a null is -1, as noise is."""
    return np.nan_to_num(float_column(table, "cluster_label"), nan=-1).astype(np.int64)


def has_redshifts(z: Floats) -> bool:
    """Say whether any redshift, (n,), is known and not 0, as it is for stars."""
    return bool(np.any(np.isfinite(z) & (z != 0)))


def class_marker(label: int) -> str:
    """Return a class's marker, which changes each time the colours start again."""
    return "o" if label < 0 else CLASS_MARKERS[label // len(CLASS_COLORS) % len(CLASS_MARKERS)]


def class_display_name(label: int) -> str:
    """Return a class's name in a figure."""
    return "noise (−1)" if label < 0 else f"class {label}"


def flux_range(*curves: Floats) -> tuple[float, float]:
    """Return y limits that hold the curves, but not their one or two wildest pixels.

    Examples
    --------
    >>> low, high = flux_range(np.r_[np.linspace(0, 1, 500), 1e6, -1e6])
    >>> bool(-0.2 < low < high < 1.2)
    True
    """
    finite = [curve[np.isfinite(curve)] for curve in curves]
    finite = [curve for curve in finite if curve.size]
    if not finite:
        return 0.0, 1.0
    low = min(float(np.percentile(curve, 0.3, method="higher")) for curve in finite)
    high = max(float(np.percentile(curve, 99.7, method="lower")) for curve in finite)
    pad = 0.1 * (high - low) or 0.5
    return low - pad, high + pad


def spread_labels(positions: Floats, min_separation: float, low: float, high: float) -> Floats:
    """Move sorted positions, (n,), as little as keeps neighbours ``apart`` and all in range.

    Least squares under "at least ``apart``" is isotonic regression of what is left once the spacing
    has been taken off.

    Examples
    --------
    >>> spread(np.array([1.0, 5.0, 5.2]), 1.0, 0.0, 10.0)
    array([1. , 4.6, 5.6])
    """
    if len(positions) < 2:
        return positions
    steps = min(min_separation, (high - low) / (len(positions) - 1)) * np.arange(len(positions))
    fitted = isotonic_regression(positions - steps).x
    return np.clip(fitted, low, high - steps[-1]) + steps


def repel_points(points: Floats, min_separation: float) -> Floats:
    """Push points, (n, 2), away from each other until about ``apart``.

    Examples
    --------
    >>> moved = repel(np.array([[0.0, 0.0], [0.1, 0.0], [9.0, 9.0]]), 1.0)
    >>> bool(np.hypot(*(moved[1] - moved[0])) > 0.95), moved[2]
    (True, array([9., 9.]))
    """
    nudge = 1e-6 * min_separation * np.random.default_rng(0).normal(size=points.shape)  # parts equal points
    moved = points + nudge
    for _ in range(60):
        between = moved[:, None] - moved[None]
        distance = np.hypot(between[..., 0], between[..., 1])
        np.fill_diagonal(distance, np.inf)
        push = np.clip(min_separation - distance, 0, None) / (2 * distance)
        moved = moved + (push[..., None] * between).sum(axis=1)
    return np.where(np.abs(moved - points) < 1e-3 * min_separation, points, moved)


def message_figure(text: str) -> Figure:
    """Return a figure that says why there is nothing to draw."""
    figure = Figure((FIGURE_WIDTH, 1.2), dpi=DPI)
    figure.text(0.5, 0.5, text, ha="center", va="center", color=MUTED_COLOR)
    return figure


def add_legend(figure: Figure, ax: Axes) -> None:
    """Put the legend of one of its axes above a figure."""
    handles, names = ax.get_legend_handles_labels()
    drawn = figure.legend(handles, names, loc="outside upper center", ncols=len(names))
    for line in drawn.get_lines():
        line.set_linewidth(1.1)
