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
from distspec.report.figures.spectra import draw_spectrum, flux_label, wave_axis, wave_limits
from distspec.report.figures.style import (
    DPI,
    FIGURE_WIDTH,
    add_legend,
    class_display_name,
    flux_range,
    message_figure,
    spread_labels,
    with_report_style,
)
from distspec.report.tables import float_column, get_cluster_labels, has_redshifts


def _annotate_lines(
    label_ax: Axes,
    axes: list[Axes],
    lines: Mapping[str, float],
    unit_per_angstrom: float,
    width_inches: float,
) -> None:
    """Mark spectral features by vertical lines through all axes, with their names above the first.

    Parameters
    ----------
    label_ax : Axes
        Axes above which the names are written.
    axes : list of Axes
        Axes that share the x axis.
    lines : mapping of str to float
        Rest wavelengths of the features [Angstrom]; those outside the plotted range are left out.
    unit_per_angstrom : float
        Length of 1 Angstrom in the unit of the x axis.
    width_inches : float
        Width of the axes [inch], which sets the spacing of the names.
    """
    low, high = label_ax.get_xlim()
    inside = sorted(
        (unit_per_angstrom * w, name) for name, w in lines.items() if low < unit_per_angstrom * w < high
    )
    positions = np.array([x for x, _ in inside])
    label_positions = spread_labels(positions, 0.115 * (high - low) / width_inches, low, high)
    for (x, name), x_name in zip(inside, label_positions, strict=True):
        for ax in axes:
            ax.axvline(x, color=MUTED_COLOR, lw=0.4, ls=":", zorder=0)
        label_ax.annotate(
            name,
            (x, 1.0),
            (float(x_name), 1.22),
            xycoords=label_ax.get_xaxis_transform(),
            textcoords=label_ax.get_xaxis_transform(),
            arrowprops={"arrowstyle": "-", "lw": 0.4, "color": MUTED_COLOR,
                        "relpos": (0.5, 0.0), "shrinkA": 0, "shrinkB": 0},
            rotation=90, ha="center", va="bottom", size=6, color="#555555", parse_math=False,
        )  # fmt: skip


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
    for ax, label in zip(axes[:, 0], shown, strict=True):
        rows = np.flatnonzero(row_labels == label)
        rows = rows[np.argsort(wave[rows])]
        color = class_color(label)
        ax.fill_between(wave[rows], low[rows], high[rows], color=color, alpha=0.35, lw=0)
        ax.plot(wave[rows], mid[rows], color=DATA_COLOR, lw=0.8)
        ax.set_ylim(flux_range(low[rows], mid[rows], high[rows]))
        ax.yaxis.set_major_locator(MaxNLocator(3))
        n = int((labels == label).sum())
        name = f"{class_display_name(label)}\n{n:,} {'spectrum' if n == 1 else 'spectra'}"
        ax.set_ylabel(name, rotation=0, ha="right", va="center", size=6.5, linespacing=1.3)
        if not np.isfinite(mid[rows]).any():
            ax.text(0.5, 0.5, "too few spectra", transform=ax.transAxes, ha="center", color=MUTED_COLOR)
    axes[0, 0].set_xlim(wave_limits(wave, np.isfinite(mid)))
    axes[-1, 0].set_xlabel(wave_label)
    _annotate_lines(axes[0, 0], list(axes[:, 0]), lines, unit, width)
    if len(ratios) > 1:
        _draw_redshift_histograms(list(axes[:, 1]), labels, z, shown)
    figure.supylabel(flux_label(norm_wave), size=7.5)
    return figure


@with_report_style
def plot_class_examples(
    wave_rest: Floats,
    examples: ExampleSpectra,
    labels: NDArray[np.int64],
    lines: Mapping[str, float],
    norm_wave: float,
) -> Figure:
    """Plot example spectra of each class, one row per class.

    Parameters
    ----------
    wave_rest : ndarray of shape (n_pixels,)
        Rest-frame wavelength grid [Angstrom].
    examples : ExampleSpectra
        Spectra to plot.
    labels : ndarray of shape (n_examples,)
        Class of each example; at most `N_EXAMPLES_PER_CLASS` of each class are plotted.
    lines : mapping of str to float
        Rest wavelengths of the features to mark [Angstrom].
    norm_wave : float
        Wavelength at which the spectra are normalized [Angstrom].

    Returns
    -------
    Figure
    """
    shown = np.unique(labels).tolist()
    if not shown:
        return message_figure("no class to show")
    figure = Figure((FIGURE_WIDTH, 0.8 + 1.15 * len(shown)), dpi=DPI)
    axes = figure.subplots(len(shown), N_EXAMPLES_PER_CLASS, sharex=True, squeeze=False)
    wave, unit, label = wave_axis(wave_rest)
    axes[0, 0].set_xlim(wave_limits(wave, np.any(examples.ivar > 0, axis=0)))
    for row, number in zip(axes, shown, strict=True):
        members = np.flatnonzero(labels == number)[:N_EXAMPLES_PER_CLASS].tolist()
        for ax, i in zip(row, members, strict=False):
            draw_spectrum(ax, wave, examples, i)
            name = examples.object_ids[i]
            name = name if len(name) <= 26 else f"{name[:9]}…{name[-16:]}"
            ax.set_title(f"{name}\n{examples.captions[i]}", loc="left", size=5.5, parse_math=False, pad=2)
            for x in lines.values():
                ax.axvline(unit * x, color=MUTED_COLOR, lw=0.4, ls=":", zorder=0)
        for ax in row[len(members) :]:
            ax.set_axis_off()
        row[0].set_ylabel(class_display_name(number), rotation=0, ha="right", va="center", size=6.5)
    add_legend(figure, axes[0, 0])
    figure.supxlabel(label, size=7.5)
    figure.supylabel(flux_label(norm_wave), size=7.5)
    return figure
