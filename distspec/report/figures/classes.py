"""Figures of the classes: median spectra with redshift distributions, and example spectra."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from distspec.core.colors import DATA_COLOR, MUTED_COLOR, class_color
from distspec.core.spectrum import Floats
from distspec.report.data import N_EXAMPLES_PER_CLASS, ExampleSpectra
from distspec.report.figures.flux_axis import choose_linear_width, set_flux_axis
from distspec.report.figures.lines import mark_lines, name_lines
from distspec.report.figures.spectra import (
    add_spectrum_axes,
    draw_examples,
    flux_label,
    wave_axis,
    wave_limits,
)
from distspec.report.figures.style import (
    DPI,
    FIGURE_WIDTH,
    class_display_name,
    message_figure,
    with_report_style,
)
from distspec.report.tables import float_column, get_cluster_labels, has_redshifts


def _draw_redshift_histograms(
    axes: list[Axes], labels: NDArray[np.int64], z: Floats, class_labels: list[int]
) -> None:
    """Draw the redshift histogram of each class with common bins in one column of axes."""
    known = z[np.isfinite(z)]
    low, high = float(known.min()), float(known.max())
    edges = np.linspace(low, high, 31) if high > low else np.linspace(low - 0.5, high + 0.5, 31)
    for ax, label in zip(axes, class_labels, strict=True):
        counts = np.histogram(z[(labels == label) & np.isfinite(z)], edges)[0]
        ax.stairs(counts, edges, fill=True, color=class_color(label), alpha=0.55, lw=0)
        ax.stairs(counts, edges, color=class_color(label), lw=0.8)
        ax.set_ylim(0, max(1.15 * counts.max(), 1))
        ax.yaxis.set_major_locator(MaxNLocator(2, integer=True))
        ax.yaxis.tick_right()
    axes[0].set_title(f"spectra per Δz = {edges[1] - edges[0]:.2g}", size=6.5)
    axes[-1].set_xlabel("redshift z")


@with_report_style
def plot_class_medians(
    class_medians: pa.Table,
    objects: pa.Table,
    lines: Mapping[str, float],
    norm_wave: float,
    class_names: Mapping[int, str | None] | None = None,
) -> Figure:
    """Plot the median spectrum and the redshift distribution of each class.

    Parameters
    ----------
    class_medians : Table
        Published table ``class_medians``.
    objects : Table
        Columns ``cluster_label`` and ``z``; if all redshifts are 0, as for stars, there are no histograms.
    lines : mapping of str to float
        Rest wavelengths of the features to name [Angstrom].
    norm_wave : float
        Wavelength at which the spectra are normalized [Angstrom].
    class_names : mapping of int to str, optional
        Names of the classes by label.

    Returns
    -------
    Figure
    """
    row_labels, wave_rest = get_cluster_labels(class_medians), float_column(class_medians, "wave_rest")
    shown = sorted({int(label) for label in row_labels}, key=lambda label: (label < 0, label))
    if not shown:
        return message_figure("no class to show")
    labels, z = get_cluster_labels(objects), float_column(objects, "z")
    ratios, width = ([4.2, 1.5], 4.2) if has_redshifts(z) else ([1.0], 5.9)
    figure = Figure((FIGURE_WIDTH, 1.15 + 0.82 * len(shown)), dpi=DPI)
    axes = figure.subplots(len(shown), len(ratios), sharex="col", squeeze=False, width_ratios=ratios)
    wave, unit, wave_label = wave_axis(wave_rest)
    low, mid, high = (float_column(class_medians, f"flux_p{p}") for p in (16, 50, 84))
    linear_width = choose_linear_width(mid[row_labels == label] for label in shown)
    for ax, label in zip(axes[:, 0], shown, strict=True):
        rows = np.flatnonzero(row_labels == label)
        rows = rows[np.argsort(wave[rows])]
        color = class_color(label)
        ax.fill_between(wave[rows], low[rows], high[rows], color=color, alpha=0.35, lw=0)
        ax.plot(wave[rows], mid[rows], color=DATA_COLOR, lw=0.8)
        set_flux_axis(ax, [low[rows], high[rows]], [mid[rows]], linear_width)
        n = int((labels == label).sum())
        count = f"{n:,} {'spectrum' if n == 1 else 'spectra'}"
        name = f"{class_display_name(label, class_names, 20)}\n{count}"
        ax.set_ylabel(name, rotation=0, ha="right", va="center", size=6.5, linespacing=1.3)
        if not np.isfinite(mid[rows]).any():
            ax.text(0.5, 0.5, "too few spectra", transform=ax.transAxes, ha="center", color=MUTED_COLOR)
    axes[0, 0].set_xlim(wave_limits(wave, np.isfinite(mid)))
    axes[-1, 0].set_xlabel(wave_label)
    mark_lines(list(axes[:, 0]), lines, unit)
    name_lines(axes[0, 0], lines, unit, width, 0.75)
    if len(ratios) > 1:
        _draw_redshift_histograms(list(axes[:, 1]), labels, z, shown)
    figure.supylabel(flux_label(norm_wave, linear_width), size=7.5)
    return figure


@with_report_style
def plot_class_examples(
    wave_rest: Floats,
    examples: ExampleSpectra,
    labels: NDArray[np.int64],
    lines: Mapping[str, float],
    norm_wave: float,
    class_names: Mapping[int, str | None] | None = None,
) -> Figure:
    """Plot example spectra of each class with their residuals, one row per class.

    Parameters
    ----------
    wave_rest : ndarray of shape (n_pixels,)
        Rest-frame wavelength grid [Angstrom].
    examples : ExampleSpectra
        Spectra to plot.
    labels : ndarray of shape (n_examples,)
        Class of each example; at most `N_EXAMPLES_PER_CLASS` of each class are plotted.
    lines : mapping of str to float
        Rest wavelengths of the features to name [Angstrom].
    norm_wave : float
        Wavelength at which the spectra are normalized [Angstrom].
    class_names : mapping of int to str, optional
        Names of the classes by label.

    Returns
    -------
    Figure
    """
    shown = sorted(np.unique(labels).tolist(), key=lambda label: (label < 0, label))
    if not shown:
        return message_figure("no class to show")
    figure = Figure((FIGURE_WIDTH, 1.3 + 1.45 * len(shown)), dpi=DPI)
    cells = add_spectrum_axes(figure, len(shown) * N_EXAMPLES_PER_CLASS, N_EXAMPLES_PER_CLASS)
    positions, used = [], []
    for row, label in enumerate(shown):
        members = np.flatnonzero(labels == label)[:N_EXAMPLES_PER_CLASS]
        start = row * N_EXAMPLES_PER_CLASS
        cells[start].flux.set_ylabel(
            class_display_name(label, class_names, 16), rotation=0, ha="right", va="center", size=6.2
        )
        positions += members.tolist()
        used += cells[start : start + len(members)]
        for ax in cells[start + len(members) : start + N_EXAMPLES_PER_CLASS]:
            ax.flux.set_axis_off()
            ax.residual.set_axis_off()
    titles = [f"{_shorten(examples.object_ids[i])}\n{examples.captions[i]}" for i in positions]
    chosen = examples.take(positions)
    draw_examples(figure, used, wave_rest, chosen, lines, norm_wave, titles, N_EXAMPLES_PER_CLASS)
    return figure


def _shorten(name: str) -> str:
    return name if len(name) <= 34 else f"{name[:15]}…{name[-18:]}"
