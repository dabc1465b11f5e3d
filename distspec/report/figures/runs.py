"""Figures of a run: training curves and clustering sweep."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullFormatter

from distspec.core.arrow import pc
from distspec.core.colors import DATA_COLOR, MODEL_COLOR, MUTED_COLOR, UNCLASSIFIED_COLOR, class_color
from distspec.core.spectrum import Floats
from distspec.report.figures.style import (
    CLASS_MARKERS,
    DPI,
    FIGURE_WIDTH,
    message_figure,
    with_report_style,
)
from distspec.report.tables import float_column

SPACE_TITLES = {
    "features": "space: features (measurements)",
    "latents": "space: latents",
    "map": "space: map (UMAP)",
}
"""Titles of the panels of the sweep, by space."""


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


def _set_rate_scale(ax: Axes, rates: Floats) -> None:
    """Use a logarithmic axis for learning rates that fall below a tenth, else a linear one from 0."""
    positive = rates[rates > 0]
    if positive.size and positive.max() >= 10 * positive.min():
        ax.set_yscale("log")
        return
    ax.set_ylim(0.0, 1.15 * float(positive.max(initial=0.0)) or 1.0)
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.yaxis.set_major_formatter(FormatStrFormatter("%g"))


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
    _set_rate_scale(rate, lr)
    kept = f"kept: epoch {best_epoch}"
    titles = ("reconstruction loss", "KL divergence [nat]", "learning rate")
    for ax, title in zip((loss, kl, rate), titles, strict=True):
        ax.axvline(best_epoch, color=DATA_COLOR, lw=0.7, ls="--", label=kept)
        ax.set_xlabel("epoch")
        ax.set_title(title, loc="left", size=7.5)
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    validation = recon[1]
    if np.any(is_kept := epoch == best_epoch):
        value = validation[is_kept]
        text = f"kept: {value[0]:.5g}"
        lowest = lowest_epoch(history)
        if lowest is not None and lowest != best_epoch:
            text += f" (lowest: {np.nanmin(validation):.5g}, epoch {lowest})"
        loss.plot(epoch[is_kept], value, "o", color=MODEL_COLOR, ms=4, mec=DATA_COLOR, mew=0.6, label=text)
    handles, names = loss.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper left", ncols=len(names))
    return figure


def lowest_epoch(history: pa.Table) -> int | None:
    """Return the epoch with the lowest validation loss; None if no loss is finite.

    Parameters
    ----------
    history : Table
        Columns ``epoch`` and ``val_recon``.
    """
    loss = float_column(history, "val_recon")
    if not np.isfinite(loss).any():
        return None
    return int(float_column(history, "epoch")[np.nanargmin(loss)])


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
        ax.set(xlabel="number of clusters k", title=SPACE_TITLES.get(space, space))
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
