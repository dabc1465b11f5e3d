"""Maps of the spectra: UMAP and the clustered space by class, and UMAP by other quantities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatter
from numpy.typing import NDArray

from distspec.core.colors import CLASS_COLORS, UNCLASSIFIED_COLOR, class_color
from distspec.core.spectrum import Floats
from distspec.report.data import ChosenSpace, MapColumn
from distspec.report.figures.style import (
    DPI,
    FIGURE_WIDTH,
    MAX_VECTOR_POINTS,
    class_display_name,
    class_marker,
    message_figure,
    repel_points,
    with_report_style,
)
from distspec.report.tables import has_redshifts

MAX_CATEGORIES = 8
"""Number of texts of an external column that have colors; the rarer ones are drawn as others."""


def _shuffle(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return rows in a random order, so that no color hides others."""
    return np.random.default_rng(0).permutation(rows)


def _point_size(n: int) -> float:
    return float(np.clip(7000 / max(n, 1), 0.3, 10))


def _set_map_axes(ax: Axes) -> None:
    ax.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")


def _scatter_by_value(
    ax: Axes, umap: Floats, values: Floats, log_scale: bool, label: str, size: float
) -> None:
    """Draw the embedding colored by a quantity, between its 1st and 99th percentile."""
    finite = np.isfinite(values) & (values > 0 if log_scale else np.isfinite(values))
    rasterized = len(values) > MAX_VECTOR_POINTS
    ax.scatter(*umap[~finite].T, s=size, c=UNCLASSIFIED_COLOR, lw=0, rasterized=rasterized)
    if not finite.any():
        ax.set_title(f"{label}: none known")
        return
    low, high = (float(p) for p in np.percentile(values[finite], [1, 99]))
    high = high if high > low else low + (abs(low) or 1.0)
    norm = LogNorm(low, high) if log_scale else Normalize(low, high)
    order = _shuffle(np.flatnonzero(finite))
    drawn = ax.scatter(*umap[order].T, s=size, c=values[order], cmap="cividis", norm=norm, lw=0,
                       rasterized=rasterized)  # fmt: skip
    bar = ax.figure.colorbar(drawn, ax=ax, pad=0.02, aspect=25, extend="both", extendfrac=0.02)
    bar.set_label(label)
    if log_scale and low >= 1.0:  # 20 instead of 2 × 10¹
        for set_formatter in (bar.ax.yaxis.set_major_formatter, bar.ax.yaxis.set_minor_formatter):
            set_formatter(LogFormatter())


def _annotate_class_numbers(ax: Axes, umap: Floats, labels: NDArray[np.int64]) -> None:
    """Write the number of each class near its median position, without overlaps."""
    is_known = np.isfinite(umap).all(axis=1)
    numbers = np.unique(labels[is_known & (labels >= 0)])
    if numbers.size < 2:
        return
    middles = np.stack([np.median(umap[is_known & (labels == label)], axis=0) for label in numbers])
    extent = float(np.ptp(umap[is_known], axis=0).max())
    edge = patheffects.withStroke(linewidth=2.2, foreground="white")
    for label, (x, y) in zip(numbers, repel_points(middles, 0.045 * extent or 1.0), strict=True):
        ax.text(x, y, str(label), size=8, weight="bold", ha="center", va="center",
                path_effects=[edge], zorder=5)  # fmt: skip


def _scatter_by_class(ax: Axes, points: Floats, labels: NDArray[np.int64], size: float) -> None:
    """Draw points colored by class: noise first, then in random order."""
    rasterized = len(labels) > MAX_VECTOR_POINTS
    for label in sorted(np.unique(labels).tolist(), key=lambda label: (label >= 0, -(labels == label).sum())):
        members = points[labels == label]  # small classes on top of large ones
        ax.scatter(*members.T, s=size, c=class_color(label), marker=class_marker(label), lw=0, alpha=0.8,
                   rasterized=rasterized)  # fmt: skip


@with_report_style
def plot_class_maps(
    umap: Floats,
    space: ChosenSpace | None,
    labels: NDArray[np.int64],
    class_names: Mapping[int, str | None] | None = None,
) -> Figure:
    """Plot the UMAP map beside the space that was clustered, both colored by class.

    Parameters
    ----------
    umap : ndarray of shape (n_spectra, 2)
        Coordinates.
    space : ChosenSpace or None
        The clustered space; None to plot the map alone.
    labels : ndarray of shape (n_spectra,)
        Classes; -1 for noise.
    class_names : mapping of int to str, optional
        Names of the classes by label.

    Returns
    -------
    Figure
    """
    if len(labels) == 0:
        return message_figure("no spectrum to show")
    sizes = {int(label): int((labels == label).sum()) for label in np.unique(labels)}
    figure = Figure((FIGURE_WIDTH, 3.75 + 0.14 * (len(sizes) // 3)), dpi=DPI)
    axes = figure.subplots(1, 1 if space is None else 2, squeeze=False)[0]
    size = _point_size(len(labels))
    panels = [("UMAP of the latents", umap, ("UMAP 1", "UMAP 2"))]
    if space is not None:
        panels.append((f"Clustered space: {space.name}", space.points, space.axis_labels))
    for ax, (title, points, names) in zip(axes, panels, strict=True):
        _scatter_by_class(ax, points, labels, size)
        _annotate_class_numbers(ax, points, labels)
        ax.set_title(title, loc="left", size=7.5)
        ax.set_xlabel(names[0], size=6.5)
        ax.set_ylabel(names[1], size=6.5)
    _set_map_axes(axes[0])
    if space is not None:
        _limit_to_most_points(axes[1], space.points)
    handles = [
        Line2D([], [], ls="", ms=4, mew=0, color=class_color(label), marker=class_marker(label),
               label=f"{class_display_name(label, class_names)} ({sizes[label]:,})")
        for label in sorted(sizes, key=lambda label: (label < 0, label))
    ]  # fmt: skip
    longest = max(len(str(handle.get_label())) for handle in handles)
    n_columns = int(np.clip(130 // (longest + 6), 1, 6))
    figure.legend(handles=handles, loc="outside lower center", ncols=n_columns, handletextpad=0.1)
    return figure


def _limit_to_most_points(ax: Axes, points: Floats) -> None:
    """Set limits that contain all but the outermost 0.2 % of the points along each axis."""
    for limits, values in ((ax.set_xlim, points[:, 0]), (ax.set_ylim, points[:, 1])):
        low, high = np.percentile(values, [0.1, 99.9])
        pad = 0.05 * (high - low) or 0.5
        limits(low - pad, high + pad)


@with_report_style
def plot_property_maps(
    umap: Floats, z: Floats, snr: Floats, recon_mse: Floats, anomaly_score: Floats
) -> Figure:
    """Plot the UMAP map by redshift (if there are any), S/N, reconstruction error and anomaly score.

    Parameters
    ----------
    umap : ndarray of shape (n_spectra, 2)
        Coordinates.
    z, snr, recon_mse, anomaly_score : ndarray of shape (n_spectra,)
        Redshifts, signal-to-noise ratios, reconstruction errors and anomaly scores.

    Returns
    -------
    Figure
    """
    if len(z) == 0:
        return message_figure("no spectrum to show")
    shades = [(z, False, "redshift z")] if has_redshifts(z) else []
    shades += [
        (snr, True, "S/N per pixel"),
        (recon_mse, True, "reconstruction error (MSE)"),
        (anomaly_score, False, "anomaly score"),
    ]
    figure = Figure((FIGURE_WIDTH, 2.6 * -(-len(shades) // 2)), dpi=DPI)
    axes = figure.subplots(-(-len(shades) // 2), 2, squeeze=False).ravel()
    for ax, (value, log, name) in zip(axes, shades, strict=False):
        _scatter_by_value(ax, umap, value, log, name, _point_size(len(z)))
        _set_map_axes(ax)
    for ax in axes[len(shades) :]:
        ax.set_axis_off()
    return figure


@with_report_style
def plot_external_maps(umap: Floats, columns: Sequence[MapColumn]) -> Figure:
    """Plot the UMAP map colored by columns of an external table.

    Parameters
    ----------
    umap : ndarray of shape (n_spectra, 2)
        Coordinates.
    columns : sequence of MapColumn
        Columns that are joined to the spectra.

    Returns
    -------
    Figure
    """
    n_rows = -(-len(columns) // 2)
    figure = Figure((FIGURE_WIDTH, 2.9 * n_rows), dpi=DPI)
    axes = figure.subplots(n_rows, min(len(columns), 2), squeeze=False).ravel()
    for ax, column in zip(axes, columns, strict=False):
        size = _point_size(len(umap))
        if column.values.dtype.kind == "f":
            _scatter_by_value(ax, umap, column.values, False, column.name, size)
        else:
            _scatter_by_category(ax, umap, column, size)
        _set_map_axes(ax)
    for ax in axes[len(columns) :]:
        ax.set_axis_off()
    return figure


def _scatter_by_category(ax: Axes, umap: Floats, column: MapColumn, size: float) -> None:
    """Draw the map colored by the most frequent texts of a column."""
    texts = column.values.astype(str)
    names, counts = np.unique(texts[texts != ""], return_counts=True)
    frequent = names[np.argsort(-counts, kind="stable")[:MAX_CATEGORIES]].tolist()
    others = ~np.isin(texts, frequent)
    ax.scatter(*umap[others].T, s=size, c=UNCLASSIFIED_COLOR, lw=0, rasterized=len(texts) > MAX_VECTOR_POINTS)
    rows = _shuffle(np.flatnonzero(~others))
    colors = [CLASS_COLORS[frequent.index(text) % len(CLASS_COLORS)] for text in texts[rows].tolist()]
    ax.scatter(*umap[rows].T, s=size, c=colors, lw=0, rasterized=len(texts) > MAX_VECTOR_POINTS)
    handles = [
        Line2D([], [], ls="", marker="o", ms=4, mew=0, color=CLASS_COLORS[i % len(CLASS_COLORS)], label=name)
        for i, name in enumerate(frequent)
    ]
    handles.append(
        Line2D([], [], ls="", marker="o", ms=4, mew=0, color=UNCLASSIFIED_COLOR, label="other or none")
    )
    ax.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5), handletextpad=0.1)
    ax.set_title(column.name, loc="left", parse_math=False)
