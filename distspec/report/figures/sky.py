"""Figure of the positions of the spectra on the sky."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from sklearn.cluster import DBSCAN

from distspec.core.colors import MUTED_COLOR, class_color
from distspec.core.spectrum import Floats
from distspec.report.figures.style import (
    DPI,
    FIGURE_WIDTH,
    MAX_VECTOR_POINTS,
    class_marker,
    message_figure,
    with_report_style,
)

MAX_FIELDS = 6
"""Largest number of fields that have a panel."""
FIELD_SEPARATION = 0.5
"""Distance within which positions belong to the same field [deg]."""
CELL_SIZE = 0.1
"""Size of the cells that positions are counted in to find fields [deg]."""
MAX_CELLS = 20_000
"""Number of occupied cells above which a survey is not divided into fields."""


def find_fields(ra: Floats, dec: Floats) -> NDArray[np.int64]:
    """Group positions into fields on the sky, numbered by size from 0.

    Parameters
    ----------
    ra, dec : ndarray of shape (n_spectra,)
        Finite positions [deg].

    Returns
    -------
    ndarray of shape (n_spectra,)
        Number of each position's field.

    Examples
    --------
    >>> find_fields(np.array([150.0, 0.05, 359.95]), np.array([2.0, 0.0, 0.0]))
    array([1, 0, 0])
    """
    if not ra.size:
        return np.zeros(0, np.int64)
    row = np.round(dec / CELL_SIZE)
    column = np.round(ra * np.cos(np.radians(row * CELL_SIZE)) / CELL_SIZE)
    cells, first, cell_of = np.unique(
        np.stack([row, column], axis=1), axis=0, return_index=True, return_inverse=True
    )
    if len(cells) > MAX_CELLS:
        return np.zeros(ra.size, np.int64)
    positions = np.radians(np.stack([dec[first], ra[first]], axis=1))
    clustering = DBSCAN(
        eps=float(np.radians(FIELD_SEPARATION)), min_samples=1, metric="haversine", algorithm="ball_tree"
    ).fit(positions)
    field = clustering.labels_[cell_of.ravel()]
    order = np.argsort(-np.bincount(field), kind="stable")
    return np.argsort(order)[field].astype(np.int64)


@with_report_style
def plot_sky(ra: Floats, dec: Floats, labels: NDArray[np.int64], fields: NDArray[np.str_]) -> Figure:
    """Plot the positions on the whole sky, and those in the largest fields by class.

    Parameters
    ----------
    ra, dec : ndarray of shape (n_spectra,)
        Positions [deg], ICRS; NaN if unknown.
    labels : ndarray of shape (n_spectra,)
        Classes; -1 for noise.
    fields : ndarray of str, shape (n_spectra,)
        Field or program of each spectrum in its archive, which names the panels.

    Returns
    -------
    Figure
    """
    known = np.isfinite(ra) & np.isfinite(dec)
    if not known.any():
        return message_figure("no position is known")
    ra, dec, labels, fields = ra[known], dec[known], labels[known], fields[known]
    number = find_fields(ra, dec)
    n_fields = int(number.max()) + 1
    shown = range(min(n_fields, MAX_FIELDS)) if np.ptp(dec) > 0 and n_fields < len(ra) else range(0)
    n_rows = -(-len(shown) // 3)
    figure = Figure((FIGURE_WIDTH, 2.9 + 2.1 * n_rows), dpi=DPI)
    grid = figure.add_gridspec(1 + n_rows, 3, height_ratios=[1.35, *[1.0] * n_rows])
    sky = figure.add_subplot(grid[0, :], projection="mollweide")
    _draw_whole_sky(sky, ra, dec, number)
    for i in shown:
        ax = figure.add_subplot(grid[1 + i // 3, i % 3])
        _draw_field(ax, ra[number == i], dec[number == i], labels[number == i])
        names, counts = np.unique(fields[number == i], return_counts=True)
        name = str(names[counts.argmax()])
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        n = int((number == i).sum())
        ax.set_title(f"{chr(97 + i)}  {name[:24]}{more} ({n:,})", loc="left", size=6.5, parse_math=False)
    return figure


def _draw_whole_sky(ax: Axes, ra: Floats, dec: Floats, number: NDArray[np.int64]) -> None:
    """Draw all positions in the Mollweide projection, right ascension increasing to the left."""
    x = -np.radians((ra + 180.0) % 360.0 - 180.0)
    ax.scatter(
        x, np.radians(dec), s=4, c=MUTED_COLOR, lw=0, alpha=0.5, rasterized=len(ra) > MAX_VECTOR_POINTS
    )
    for i in range(min(int(number.max()) + 1, MAX_FIELDS)):
        members = number == i
        ax.annotate(
            chr(97 + i), (float(np.median(x[members])), float(np.radians(np.median(dec[members])))),
            xytext=(4, 4), textcoords="offset points", size=7, weight="bold",
        )  # fmt: skip
    ax.grid(color="#dddddd", lw=0.4)
    hours = np.arange(-150, 180, 60)
    ax.set_xticks(
        -np.radians(hours), [f"{hour % 360 // 15} h" for hour in hours], size=5.5, color=MUTED_COLOR
    )
    ax.tick_params(axis="y", labelsize=5.5)


def _draw_field(ax: Axes, ra: Floats, dec: Floats, labels: NDArray[np.int64]) -> None:
    """Draw the positions of one field by class, north up and east left."""
    center = np.median(dec)
    ra = (ra - ra[0] + 180.0) % 360.0 - 180.0 + ra[0]  # no jump at 0 h
    size = float(np.clip(3000 / len(ra), 0.5, 8))
    for label in np.unique(labels).tolist():
        members = labels == label
        ax.scatter(ra[members], dec[members], s=size, c=class_color(label), marker=class_marker(label), lw=0,
                   alpha=0.8, rasterized=len(ra) > MAX_VECTOR_POINTS)  # fmt: skip
    ax.set_aspect(1.0 / max(np.cos(np.radians(center)), 0.02), adjustable="datalim")
    ax.invert_xaxis()
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(3))
    ax.ticklabel_format(useOffset=False)
    ax.tick_params(labelsize=5.5)
    ax.set_xlabel("RA [deg]", size=6)
    ax.set_ylabel("Dec [deg]", size=6)
