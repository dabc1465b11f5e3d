"""Style of the report's figures: sizes, class names and markers, axis limits, and placement of labels.

Class colors repeat after nine classes; then the marker changes.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any, ParamSpec

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import isotonic_regression

from distspec.core.colors import CLASS_COLORS, MUTED_COLOR
from distspec.core.spectrum import Floats

P = ParamSpec("P")
FIGURE_WIDTH = 7.2
"""Width of a figure across two columns of a journal [inch]."""
DPI = 300
"""Resolution of the PNG files [pixel per inch]."""
MAX_VECTOR_POINTS = 5_000
"""Number of points above which a scatter plot is an image in the PDF files, which would be slow to open."""
CLASS_MARKERS = "o^sDvP"
"""Markers of the classes, one for each repetition of the colors."""


def report_style() -> AbstractContextManager[None]:
    """Return a context manager that applies the report's matplotlib settings."""
    return mpl.rc_context(
        {
            "font.family": "DejaVu Sans",  # ships with matplotlib: available on every machine
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
            "pdf.fonttype": 42,  # TrueType, which journals ask for
        }
    )


def with_report_style(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Decorate a function to draw with the report's matplotlib settings.

    Parameters
    ----------
    draw : callable
        Returns a figure.
    """

    @wraps(draw)
    def inner(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with report_style():
            return draw(*args, **kwargs)

    return inner


def class_marker(label: int) -> str:
    """Return the marker of a class; it changes when the colors repeat.

    Parameters
    ----------
    label : int
        Label of the class; -1 is noise.

    Returns
    -------
    str
        A marker of matplotlib.
    """
    return "o" if label < 0 else CLASS_MARKERS[label // len(CLASS_COLORS) % len(CLASS_MARKERS)]


def class_display_name(label: int, names: Mapping[int, str | None] | None = None, width: int = 0) -> str:
    """Return the number and the name of a class in a figure.

    Parameters
    ----------
    label : int
        Label of the class; -1 is noise.
    names : mapping of int to str, optional
        Names of the classes by label.
    width : int
        Number of characters after which a line is broken; 0 for one line.

    Examples
    --------
    >>> class_display_name(2, {2: "star-forming, weak Hα"})
    '2: star-forming, weak Hα'
    >>> class_display_name(2), class_display_name(-1)
    ('class 2', 'noise (−1)')
    """
    if label < 0:
        return "noise (−1)"
    name = (names or {}).get(label)
    text = f"{label}: {name}" if name else f"class {label}"
    return "\n".join(textwrap.wrap(text, width)) if width else text


def flux_range(*curves: Floats) -> tuple[float, float]:
    """Return y limits that contain all but the most extreme 0.3 % of the pixels at either end.

    Parameters
    ----------
    *curves : ndarray
        Curves to show; values that are not finite are ignored.

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
    """Move sorted positions as little as possible so that labels do not overlap.

    The least-squares solution is the isotonic regression of the positions minus multiples of the separation.

    Parameters
    ----------
    positions : ndarray of shape (n_labels,)
        Sorted positions.
    min_separation : float
        Smallest distance between neighbors.
    low, high : float
        Range of the result.

    Examples
    --------
    >>> spread_labels(np.array([1.0, 5.0, 5.2]), 1.0, 0.0, 10.0)
    array([1. , 4.6, 5.6])
    """
    if len(positions) < 2:
        return positions
    steps = min(min_separation, (high - low) / (len(positions) - 1)) * np.arange(len(positions))
    fitted = isotonic_regression(positions - steps).x
    return np.clip(fitted, low, high - steps[-1]) + steps


def repel_points(points: Floats, min_separation: float) -> Floats:
    """Push points away from each other until they are about `min_separation` apart.

    Parameters
    ----------
    points : ndarray of shape (n_points, 2)
        Positions.
    min_separation : float
        Approximate smallest distance.

    Examples
    --------
    >>> moved = repel_points(np.array([[0.0, 0.0], [0.1, 0.0], [9.0, 9.0]]), 1.0)
    >>> bool(np.hypot(*(moved[1] - moved[0])) > 0.95), moved[2]
    (True, array([9., 9.]))
    """
    nudge = (
        1e-6 * min_separation * np.random.default_rng(0).normal(size=points.shape)
    )  # separates identical points
    moved = points + nudge
    for _ in range(60):
        between = moved[:, None] - moved[None]
        distance = np.hypot(between[..., 0], between[..., 1])
        np.fill_diagonal(distance, np.inf)
        push = np.clip(min_separation - distance, 0, None) / (2 * distance)
        moved = moved + (push[..., None] * between).sum(axis=1)
    return np.where(np.abs(moved - points) < 1e-3 * min_separation, points, moved)


def set_layout(figure: Figure, **settings: Any) -> None:
    """Set parameters of the constrained layout of a figure.

    Parameters
    ----------
    figure : Figure
        Figure, created with the report's settings.
    **settings : object
        Parameters of `matplotlib.layout_engine.ConstrainedLayoutEngine.set`.
    """
    engine: Any = figure.get_layout_engine()
    if engine is not None:
        engine.set(**settings)


def message_figure(text: str) -> Figure:
    """Return a figure that shows only a message.

    Parameters
    ----------
    text : str
        The message.
    """
    figure = Figure((FIGURE_WIDTH, 1.2), dpi=DPI)
    figure.text(0.5, 0.5, text, ha="center", va="center", color=MUTED_COLOR)
    return figure


def add_legend(figure: Figure, ax: Axes) -> None:
    """Draw the legend of an axes above the figure.

    Parameters
    ----------
    figure : Figure
        Figure with a constrained layout, which makes room for the legend.
    ax : Axes
        Axes whose labeled curves the legend lists.
    """
    handles, names = ax.get_legend_handles_labels()
    drawn = figure.legend(handles, names, loc="outside upper center", ncols=len(names))
    for line in drawn.get_lines():
        line.set_linewidth(1.1)
