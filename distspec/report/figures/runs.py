"""Figures of a run: the map, the training curves, the sweep."""

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
    float_column,
    has_redshifts,
    message_figure,
    repel_points,
    with_report_style,
)


def _scatter_by_value(
    ax: Axes, umap: Floats, values: Floats, log_scale: bool, label: str, size: float
) -> None:
    """Draw the map in shades of one quantity, the scale cut at the 1st and 99th percentile."""
    finite = np.isfinite(values) & (values > 0 if log_scale else np.isfinite(values))
    ax.scatter(*umap[~finite].T, s=size, c=UNCLASSIFIED_COLOR, lw=0)
    if not finite.any():
        ax.set_title(f"{label}: none known")
        return
    low, high = (float(p) for p in np.percentile(values[finite], [1, 99]))
    high = high if high > low else low + (abs(low) or 1.0)
    norm = LogNorm(low, high) if log_scale else Normalize(low, high)
    order = np.random.default_rng(0).permutation(np.flatnonzero(finite))  # no value hides others
    drawn = ax.scatter(*umap[order].T, s=size, c=values[order], cmap="cividis", norm=norm, lw=0)
    bar = ax.figure.colorbar(drawn, ax=ax, pad=0.02, aspect=25, extend="both", extendfrac=0.02)
    bar.set_label(label)


def _annotate_class_numbers(ax: Axes, umap: Floats, labels: NDArray[np.int64]) -> None:
    """Write each class's number at its median place, near enough: numbers keep clear of others."""
    seen = np.isfinite(umap).all(axis=1)
    numbers = np.unique(labels[seen & (labels >= 0)])
    if numbers.size < 2:
        return
    middles = np.stack([np.median(umap[seen & (labels == label)], axis=0) for label in numbers])
    extent = float(np.ptp(umap[seen], axis=0).max())
    edge = patheffects.withStroke(linewidth=2.2, foreground="white")
    for label, (x, y) in zip(numbers, repel_points(middles, 0.045 * extent or 1.0), strict=True):
        ax.text(x, y, str(label), size=8, weight="bold", ha="center", va="center",
                path_effects=[edge], zorder=5)  # fmt: skip


@with_report_style
def plot_umap(umap: Floats, labels: NDArray[np.int64], z: Floats, recon_mse: Floats) -> Figure:
    """Draw the UMAP by class, and in shades of redshift (if any) and of reconstruction error.

    Parameters
    ----------
    umap : (n, 2)
    labels : (n,)
        Classes; -1 is noise.
    z : (n,)
    recon_mse : (n,)
    """
    if len(labels) == 0:
        return message_figure("no spectrum to show")
    shades = [(z, False, "redshift z")] if has_redshifts(z) else []
    shades.append((recon_mse, True, "reconstruction error (MSE)"))
    sizes = {int(c): int((labels == c).sum()) for c in np.unique(labels)}
    named = sorted(sizes, key=lambda label: (label < 0, label))
    figure = Figure((FIGURE_WIDTH, 4.3 + 0.14 * (len(sizes) // 6)), dpi=DPI)
    grid = figure.add_gridspec(len(shades), 2, width_ratios=[1.75, 1])
    main = figure.add_subplot(grid[:, 0])
    size = float(np.clip(9000 / max(len(labels), 1), 0.3, 12))
    for label in sorted(sizes, key=lambda label: (label >= 0, -sizes[label])):
        at = umap[labels == label]  # noise first, small classes over large ones
        colour, marker = class_color(label), class_marker(label)
        main.scatter(at[:, 0], at[:, 1], s=size, c=colour, marker=marker, lw=0, alpha=0.8)
    _annotate_class_numbers(main, umap, labels)
    handles = [
        Line2D([], [], ls="", ms=4, mew=0, color=class_color(label), marker=class_marker(label),
               label=f"{class_display_name(label)}: {sizes[label]:,}")
        for label in named
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=6, handletextpad=0.1)
    others = [figure.add_subplot(grid[i, 1]) for i in range(len(shades))]
    for ax, (value, log, name) in zip(others, shades, strict=True):
        _scatter_by_value(ax, umap, value, log, name, 0.6 * size)
    for ax in [main, *others]:
        ax.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
    main.set(xlabel="UMAP 1", ylabel="UMAP 2")
    return figure


def find_best_epoch(history: pa.Table) -> float:
    """Return the epoch of the lowest validation reconstruction loss; NaN where none is known."""
    loss = float_column(history, "val_recon")
    if not np.isfinite(loss).any():
        return float("nan")
    return float(float_column(history, "epoch")[np.nanargmin(loss)])


def _set_loss_scale(ax: Axes, losses: Floats) -> None:
    """Scale a loss: log where it can be, else linear without the first epochs' plunge."""
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
def plot_training_curves(history: pa.Table, best_epoch: float) -> Figure:
    """Draw reconstruction loss, KL and learning rate against epoch.

    Parameters
    ----------
    history : pa.Table
        epoch, train_recon, val_recon, train_kl, val_kl, lr.
    best_epoch : float
        The epoch to mark; NaN for none.
    """
    figure = Figure((FIGURE_WIDTH, 2.5), dpi=DPI)
    loss, kl, rate = figure.subplots(1, 3)
    epoch = float_column(history, "epoch")
    marker = "o" if len(epoch) < 4 else ""
    for ax, what in ((loss, "recon"), (kl, "kl")):
        for side, word, colour in (("train", "training", MUTED_COLOR), ("val", "validation", MODEL_COLOR)):
            curve = float_column(history, f"{side}_{what}")
            ax.plot(epoch, curve, color=colour, lw=1.0, marker=marker, ms=3, label=word)
    recon = [float_column(history, name) for name in ("train_recon", "val_recon")]
    _set_loss_scale(loss, np.concatenate(recon))
    lr = float_column(history, "lr")
    rate.plot(epoch, lr, color=DATA_COLOR, lw=1.0, marker=marker, ms=3, drawstyle="steps-mid")
    rate.set_yscale("log" if np.any(lr > 0) else "linear")
    titles = ("reconstruction loss", "KL divergence [nat]", "learning rate")
    for ax, title in zip((loss, kl, rate), titles, strict=True):
        if np.isfinite(best_epoch):
            ax.axvline(best_epoch, color=DATA_COLOR, lw=0.7, ls="--", label=f"best epoch: {best_epoch:.0f}")
        ax.set_xlabel("epoch")
        ax.set_title(title, loc="left", size=7.5)
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    loss.legend(loc="best", frameon=True, edgecolor="none", framealpha=0.9)
    return figure


@with_report_style
def plot_sweep_scores(sweep: pa.Table, null_trials: pa.Table) -> Figure:
    """Draw silhouette against the number of classes, a panel a space, a point a trial, the chosen one ringed.

    Parameters
    ----------
    sweep : pa.Table
        space, algorithm, k, silhouette, chosen.
    null_trials : pa.Table
        space, k, silhouette: of the same trials on structureless data.
    """
    known = np.isfinite(float_column(sweep, "k")) & np.isfinite(float_column(sweep, "silhouette"))
    if not known.any():
        return message_figure("no trial has a silhouette")
    spaces = list(dict.fromkeys(str(name) for name in sweep["space"].to_pylist()))
    algorithms = sorted({str(name) for name in sweep["algorithm"].to_pylist()})
    figure = Figure((FIGURE_WIDTH, 2.9), dpi=DPI)
    panels = figure.subplots(1, len(spaces), sharey=True, squeeze=False)[0]
    for ax, space in zip(panels, spaces, strict=True):
        here = null_trials.filter(pc.field("space") == space)
        if len(here):
            ax.plot(float_column(here, "k"), float_column(here, "silhouette"), "_", color=UNCLASSIFIED_COLOR, ms=5, mew=0.8,
                    label="structureless data", zorder=1)  # fmt: skip
        _draw_trials(ax, sweep.filter(pc.field("space") == space), algorithms)
        ax.set(xlabel="number of classes k", title=f"space: {space}")
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        ax.grid(axis="y", color="#e6e6e6", lw=0.5)
        ax.set_axisbelow(True)
    panels[0].set_ylabel("mean silhouette")
    named = {name: line for ax in panels for line, name in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(list(named.values()), list(named), loc="outside upper center", ncols=5)
    return figure


def _draw_trials(ax: Axes, trials: pa.Table, algorithms: Sequence[str]) -> None:
    """Draw a space's trials: each algorithm in its colour, lines through the medians at each k."""
    k, silhouette = float_column(trials, "k"), float_column(trials, "silhouette")
    known = np.isfinite(k) & np.isfinite(silhouette)
    algorithm = np.array([str(name) for name in trials["algorithm"].to_pylist()], object)
    for i, name in enumerate(algorithms):
        here = known & (algorithm == name)
        if not here.any():
            continue
        steps = np.unique(k[here])
        middle = [np.median(silhouette[here & (k == step)]) for step in steps]
        ax.plot(steps, middle, color=class_color(i), lw=0.9)
        ax.plot(k[here], silhouette[here], CLASS_MARKERS[i % len(CLASS_MARKERS)], color=class_color(i), ms=3.5, mew=0,
                alpha=0.6, label=name)  # fmt: skip
    for i in np.flatnonzero([bool(row) for row in trials["chosen"].to_pylist()]):
        choice = f"chosen: {algorithm[i]}, k = {k[i]:.0f}, silhouette {silhouette[i]:.3f}"
        ax.plot(k[i], silhouette[i], "o", ms=9, mfc="none", mec=DATA_COLOR, mew=1.2, label=choice)
