"""Figures of a run: UMAP embedding, training curves and clustering sweep."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from distspec.core.arrow import pc
from distspec.core.colors import DATA_COLOR, MODEL_COLOR, MUTED_COLOR, UNCLASSIFIED_COLOR, class_color
from distspec.core.spectrum import Floats
from distspec.report.figures.style import (
    CLASS_MARKERS,
    DPI,
    FIGURE_WIDTH,
    class_display_name,
    class_marker,
    message_figure,
    repel_points,
    with_report_style,
)
from distspec.report.tables import float_column, has_redshifts


def _scatter_by_value(
    ax: Axes, umap: Floats, values: Floats, log_scale: bool, label: str, size: float
) -> None:
    """Draw the embedding colored by a quantity, between its 1st and 99th percentile."""
    finite = np.isfinite(values) & (values > 0 if log_scale else np.isfinite(values))
    ax.scatter(*umap[~finite].T, s=size, c=UNCLASSIFIED_COLOR, lw=0)
    if not finite.any():
        ax.set_title(f"{label}: none known")
        return
    low, high = (float(p) for p in np.percentile(values[finite], [1, 99]))
    high = high if high > low else low + (abs(low) or 1.0)
    norm = LogNorm(low, high) if log_scale else Normalize(low, high)
    order = np.random.default_rng(0).permutation(
        np.flatnonzero(finite)
    )  # random order, so that no value hides others
    drawn = ax.scatter(*umap[order].T, s=size, c=values[order], cmap="cividis", norm=norm, lw=0)
    bar = ax.figure.colorbar(drawn, ax=ax, pad=0.02, aspect=25, extend="both", extendfrac=0.02)
    bar.set_label(label)


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


@with_report_style
def plot_umap(umap: Floats, labels: NDArray[np.int64], z: Floats, recon_mse: Floats) -> Figure:
    """Plot the UMAP embedding colored by class, by redshift (if there are any) and by reconstruction error.

    Parameters
    ----------
    umap : ndarray of shape (n_spectra, 2)
        Coordinates.
    labels : ndarray of shape (n_spectra,)
        Classes; -1 for noise.
    z : ndarray of shape (n_spectra,)
        Redshifts.
    recon_mse : ndarray of shape (n_spectra,)
        Reconstruction errors.

    Returns
    -------
    Figure
    """
    if len(labels) == 0:
        return message_figure("no spectrum to show")
    shades = [(z, False, "redshift z")] if has_redshifts(z) else []
    shades.append((recon_mse, True, "reconstruction error (MSE)"))
    sizes = {int(c): int((labels == c).sum()) for c in np.unique(labels)}
    ordered_labels = sorted(sizes, key=lambda label: (label < 0, label))
    figure = Figure((FIGURE_WIDTH, 4.3 + 0.14 * (len(sizes) // 6)), dpi=DPI)
    grid = figure.add_gridspec(len(shades), 2, width_ratios=[1.75, 1])
    main = figure.add_subplot(grid[:, 0])
    size = float(np.clip(9000 / max(len(labels), 1), 0.3, 12))
    for label in sorted(sizes, key=lambda label: (label >= 0, -sizes[label])):
        members = umap[labels == label]  # noise first, small classes on top of large ones
        color, marker = class_color(label), class_marker(label)
        main.scatter(members[:, 0], members[:, 1], s=size, c=color, marker=marker, lw=0, alpha=0.8)
    _annotate_class_numbers(main, umap, labels)
    handles = [
        Line2D([], [], ls="", ms=4, mew=0, color=class_color(label), marker=class_marker(label),
               label=f"{class_display_name(label)}: {sizes[label]:,}")
        for label in ordered_labels
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=6, handletextpad=0.1)
    others = [figure.add_subplot(grid[i, 1]) for i in range(len(shades))]
    for ax, (value, log, name) in zip(others, shades, strict=True):
        _scatter_by_value(ax, umap, value, log, name, 0.6 * size)
    for ax in [main, *others]:
        ax.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
    main.set(xlabel="UMAP 1", ylabel="UMAP 2")
    return figure


def _set_loss_scale(ax: Axes, losses: Floats) -> None:
    """Use a logarithmic axis for a positive loss, else linear limits that cut off the first epochs."""
    finite = losses[np.isfinite(losses)]
    if finite.size == 0:
        return
    low, high = float(finite.min()), float(finite.max())
    if 0 < 5 * low < high:
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        ax.yaxis.set_minor_formatter(NullFormatter())
    elif low <= 0:
        high = float(np.percentile(finite, 95))
        pad = 0.08 * (high - low) or 0.5
        ax.set_ylim(low - pad, high + pad)


@with_report_style
def plot_training_curves(history: pa.Table, best_epoch: int) -> Figure:
    """Plot reconstruction loss, KL divergence and learning rate by epoch.

    Parameters
    ----------
    history : Table
        Columns ``epoch``, ``train_recon``, ``val_recon``, ``train_kl``, ``val_kl`` and ``lr``.
    best_epoch : int
        Epoch to mark.

    Returns
    -------
    Figure
    """
    figure = Figure((FIGURE_WIDTH, 2.5), dpi=DPI)
    loss, kl, rate = figure.subplots(1, 3)
    epoch = float_column(history, "epoch")
    marker = "o" if len(epoch) < 4 else ""
    for ax, term in ((loss, "recon"), (kl, "kl")):
        for split, name, color in (("train", "training", MUTED_COLOR), ("val", "validation", MODEL_COLOR)):
            curve = float_column(history, f"{split}_{term}")
            ax.plot(epoch, curve, color=color, lw=1.0, marker=marker, ms=3, label=name)
    recon = [float_column(history, name) for name in ("train_recon", "val_recon")]
    _set_loss_scale(loss, np.concatenate(recon))
    lr = float_column(history, "lr")
    rate.plot(epoch, lr, color=DATA_COLOR, lw=1.0, marker=marker, ms=3, drawstyle="steps-mid")
    rate.set_yscale("log" if np.any(lr > 0) else "linear")
    titles = ("reconstruction loss", "KL divergence [nat]", "learning rate")
    for ax, title in zip((loss, kl, rate), titles, strict=True):
        ax.axvline(best_epoch, color=DATA_COLOR, lw=0.7, ls="--", label=f"best epoch: {best_epoch}")
        ax.set_xlabel("epoch")
        ax.set_title(title, loc="left", size=7.5)
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    loss.legend(loc="best", frameon=True, edgecolor="none", framealpha=0.9)
    return figure


@with_report_style
def plot_sweep_scores(sweep: pa.Table, null_tests: pa.Table) -> Figure:
    """Plot the silhouette of every trial by number of clusters, one panel per space.

    Parameters
    ----------
    sweep : Table
        Columns ``space``, ``algorithm``, ``k``, ``silhouette`` and ``selected``; the trial that was selected
        is circled.
    null_tests : Table
        Columns ``space``, ``k`` and ``silhouette`` of trials on null data.

    Returns
    -------
    Figure
    """
    known = np.isfinite(float_column(sweep, "k")) & np.isfinite(float_column(sweep, "silhouette"))
    if not known.any():
        return message_figure("no trial has a silhouette")
    spaces = list(dict.fromkeys(str(name) for name in sweep["space"].to_pylist()))
    algorithms = sorted({str(name) for name in sweep["algorithm"].to_pylist()})
    figure = Figure((FIGURE_WIDTH, 2.9), dpi=DPI)
    panels = figure.subplots(1, len(spaces), sharey=True, squeeze=False)[0]
    for ax, space in zip(panels, spaces, strict=True):
        rows = null_tests.filter(pc.field("space") == space)
        if len(rows):
            k, silhouette = float_column(rows, "k"), float_column(rows, "silhouette")
            ax.plot(k, silhouette, "_", color=UNCLASSIFIED_COLOR, ms=5, mew=0.8, label="null data", zorder=1)
        _draw_trials(ax, sweep.filter(pc.field("space") == space), algorithms)
        ax.set(xlabel="number of clusters k", title=f"space: {space}")
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        ax.grid(axis="y", color="#e6e6e6", lw=0.5)
        ax.set_axisbelow(True)
    panels[0].set_ylabel("mean silhouette")
    lines_by_name = {
        name: line for ax in panels for line, name in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    figure.legend(list(lines_by_name.values()), list(lines_by_name), loc="outside upper center", ncols=5)
    return figure


def _draw_trials(ax: Axes, trials: pa.Table, algorithms: Sequence[str]) -> None:
    """Draw the trials of one space, colored by algorithm, with lines through the medians at each k."""
    k, silhouette = float_column(trials, "k"), float_column(trials, "silhouette")
    known = np.isfinite(k) & np.isfinite(silhouette)
    algorithm = np.array([str(name) for name in trials["algorithm"].to_pylist()], object)
    for i, name in enumerate(algorithms):
        members = known & (algorithm == name)
        if not members.any():
            continue
        steps = np.unique(k[members])
        middle = [np.median(silhouette[members & (k == step)]) for step in steps]
        ax.plot(steps, middle, color=class_color(i), lw=0.9)
        marker = CLASS_MARKERS[i % len(CLASS_MARKERS)]
        ax.plot(
            *(k[members], silhouette[members], marker),
            color=class_color(i),
            ms=3.5,
            mew=0,
            alpha=0.6,
            label=name,
        )
    for i in np.flatnonzero([bool(row) for row in trials["selected"].to_pylist()]):
        text = f"selected: {algorithm[i]}, k = {k[i]:.0f}, silhouette {silhouette[i]:.3f}"
        ax.plot(k[i], silhouette[i], "o", ms=9, mfc="none", mec=DATA_COLOR, mew=1.2, label=text)
