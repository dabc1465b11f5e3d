"""Figures of spectra: reconstructions, class medians, the oddest ones."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from distspec.core.colors import DATA_COLOR, ERROR_COLOR, MODEL_COLOR, MUTED_COLOR, class_color
from distspec.core.spectrum import Floats, Floats32
from distspec.report.figures.style import (
    DPI,
    FIGURE_WIDTH,
    add_legend,
    class_display_name,
    float_column,
    flux_range,
    get_cluster_labels,
    has_redshifts,
    message_figure,
    spread_labels,
    with_report_style,
)

N_EXAMPLES_PER_CLASS = 3


@dataclass(frozen=True)
class ExampleSpectra:
    """A few spectra beside what the model makes of them, all on one rest-frame grid.

    Attributes
    ----------
    object_ids : (n,) str
    z : (n,)
    flux : (n, L) [f_λ / f_λ(reference)]
    ivar : (n, L) [1 / flux²]
        0 marks a masked pixel.
    recon : (n, L) [f_λ / f_λ(reference)]
        Linear flux.
    captions : (n,) str
        What the title says after id and z: an error and its quartile, or a score and its reason.
    """

    object_ids: list[str]
    z: Floats
    flux: Floats32
    ivar: Floats32
    recon: Floats32
    captions: list[str]


def _wave_axis(wave_rest: Floats) -> tuple[Floats, float, str]:
    """Return wavelengths to plot, what one Å is in their unit, and the axis label."""
    if wave_rest.max() > 1e4:
        return 1e-4 * wave_rest, 1e-4, "rest wavelength [µm]"
    return wave_rest, 1.0, "rest wavelength [Å]"


def _flux_label(norm_wave: float) -> str:
    where = f"{1e-4 * norm_wave:.3g} µm" if norm_wave > 1e4 else f"{norm_wave:.0f} Å"
    return rf"$f_\lambda\;/\;f_\lambda$({where})"


def _wave_limits(wave: Floats, valid: NDArray[np.bool_]) -> tuple[float, float]:
    inside = wave[valid] if valid.any() else wave
    return float(inside.min()) * 0.995, float(inside.max()) * 1.005


def _draw_spectrum(ax: Axes, wave: Floats, examples: ExampleSpectra, i: int) -> Floats:
    """Draw spectrum ``i`` over its ±1σ band, the model on top; return (data - recon) / σ, (L,)."""
    valid = examples.ivar[i] > 0
    sigma = np.where(valid, 1 / np.sqrt(np.where(valid, examples.ivar[i], 1.0)), np.nan)
    data = np.where(valid, examples.flux[i], np.nan).astype(float)
    recon = examples.recon[i].astype(float)
    fitted = np.where(valid, recon, np.nan)
    ax.fill_between(wave, data - sigma, data + sigma, step="mid", color=ERROR_COLOR, lw=0, label="±1σ")
    ax.step(wave, data, where="mid", color=DATA_COLOR, lw=0.4, label="data")
    ax.plot(wave, fitted, color=MODEL_COLOR, lw=1.1, label="reconstruction", zorder=3)
    ax.plot(wave, recon, color=MODEL_COLOR, lw=0.6, ls=(0, (3, 2)), label="reconstruction, no data")
    ax.set_ylim(flux_range(data, fitted))
    ax.yaxis.set_major_locator(MaxNLocator(4))
    return (data - recon) / sigma


def _set_title(ax: Axes, examples: ExampleSpectra, i: int, rank: str = "") -> None:
    name = examples.object_ids[i]
    name = name if len(name) <= 44 else f"{name[:20]}…{name[-23:]}"
    words = textwrap.wrap(examples.captions[i], 66, max_lines=2, placeholder=" …")
    z = f"   z = {examples.z[i]:.3f}" if has_redshifts(examples.z) else ""
    title = "\n".join([f"{rank}{name}{z}", *words])
    ax.set_title(title, loc="left", parse_math=False, linespacing=1.25, pad=3)


@with_report_style
def plot_reconstructions(wave_rest: Floats, examples: ExampleSpectra, norm_wave: float) -> Figure:
    """Draw spectra and reconstructions over their residuals (the paper's Figure 1).

    Parameters
    ----------
    wave_rest : (L,) [Å, rest frame]
    examples : Examples
    norm_wave : float [Å]
        Where the flux was normalised.
    """
    n = len(examples.object_ids)
    if n == 0:
        return message_figure("no spectrum to show")
    rows, cols = -(-n // 2), min(n, 2)
    figure = Figure((FIGURE_WIDTH, 0.5 + 2.45 * rows), dpi=DPI)
    axes = figure.subplots(2 * rows, cols, sharex=True, squeeze=False, height_ratios=[3, 1] * rows)
    wave, _, label = _wave_axis(wave_rest)
    for i in range(rows * cols):
        top, strip = axes[i // cols * 2, i % cols], axes[i // cols * 2 + 1, i % cols]
        if i >= n:
            top.set_axis_off()
            strip.set_axis_off()
            continue
        residual = _draw_spectrum(top, wave, examples, i)
        _set_title(top, examples, i)
        finite = np.abs(residual[np.isfinite(residual)])
        limit = float(np.clip(np.percentile(finite, 99), 4, 30)) if finite.size else 4.0
        strip.axhspan(-1, 1, color=ERROR_COLOR, lw=0)
        strip.axhline(0, color=MODEL_COLOR, lw=0.6)
        strip.plot(wave, residual, ".", color=DATA_COLOR, ms=1.3)
        strip.set(ylim=(-limit, limit), ylabel="residual / σ" if i % cols == 0 else "")
        strip.yaxis.label.set_size(6)
        strip.yaxis.set_major_locator(MaxNLocator(3, symmetric=True))
    axes[0, 0].set_xlim(_wave_limits(wave, np.any(examples.ivar > 0, axis=0)))
    add_legend(figure, axes[0, 0])
    figure.supxlabel(label, size=7.5)
    figure.supylabel(_flux_label(norm_wave), size=7.5)
    return figure


def _annotate_lines(
    label_ax: Axes,
    axes: list[Axes],
    lines: Mapping[str, float],
    unit_per_angstrom: float,
    width_inches: float,
) -> None:
    """Rule the features inside the plotted range through all axes, named above the first.

    ``unit`` is one Å on the x axis, ``width`` the axes' own [inch]: names keep a line's height
    apart.
    """
    low, high = label_ax.get_xlim()
    inside = sorted(
        (unit_per_angstrom * w, name) for name, w in lines.items() if low < unit_per_angstrom * w < high
    )
    at = np.array([x for x, _ in inside])
    placed = spread_labels(at, 0.115 * (high - low) / width_inches, low, high)
    for (x, name), x_name in zip(inside, placed, strict=True):
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
    """Draw the redshift histogram of each class, on common bins, down a column of axes."""
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
    """Draw each class's median spectrum and redshifts (the paper's Figure 2).

    Parameters
    ----------
    class_medians : pa.Table
        Long: cluster_label, wave_rest [Å], flux_p16, flux_p50, flux_p84.
    objects : pa.Table
        cluster_label, z. Where no z differs from 0, as for stars, there is no redshift column.
    lines : mapping of str to float
        Features to name: rest wavelength [Å].
    norm_wave : float [Å]
    """
    of_row, wave_rest = get_cluster_labels(class_medians), float_column(class_medians, "wave_rest")
    shown = sorted({int(label) for label in of_row}, key=lambda label: (label < 0, label))
    if not shown:
        return message_figure("no class to show")
    labels, z = get_cluster_labels(objects), float_column(objects, "z")
    ratios, width = ([4.2, 1.5], 4.2) if has_redshifts(z) else ([1.0], 5.9)
    figure = Figure((FIGURE_WIDTH, 1.15 + 0.82 * len(shown)), dpi=DPI)
    axes = figure.subplots(len(shown), len(ratios), sharex="col", squeeze=False, width_ratios=ratios)
    wave, unit, wave_label = _wave_axis(wave_rest)
    low, mid, high = (float_column(class_medians, f"flux_p{p}") for p in (16, 50, 84))
    for ax, label in zip(axes[:, 0], shown, strict=True):
        rows = np.flatnonzero(of_row == label)
        rows = rows[np.argsort(wave[rows])]
        colour = class_color(label)
        ax.fill_between(wave[rows], low[rows], high[rows], color=colour, alpha=0.35, lw=0)
        ax.plot(wave[rows], mid[rows], color=DATA_COLOR, lw=0.8)
        ax.set_ylim(flux_range(low[rows], mid[rows], high[rows]))
        ax.yaxis.set_major_locator(MaxNLocator(3))
        n = int((labels == label).sum())
        size = f"{class_display_name(label)}\n{n:,} {'spectrum' if n == 1 else 'spectra'}"
        ax.set_ylabel(size, rotation=0, ha="right", va="center", size=6.5, linespacing=1.3)
        if not np.isfinite(mid[rows]).any():
            ax.text(0.5, 0.5, "too few spectra", transform=ax.transAxes, ha="center", color=MUTED_COLOR)
    axes[0, 0].set_xlim(_wave_limits(wave, np.isfinite(mid)))
    axes[-1, 0].set_xlabel(wave_label)
    _annotate_lines(axes[0, 0], list(axes[:, 0]), lines, unit, width)
    if len(ratios) > 1:
        _draw_redshift_histograms(list(axes[:, 1]), labels, z, shown)
    figure.supylabel(_flux_label(norm_wave), size=7.5)
    return figure


@with_report_style
def plot_class_examples(
    wave_rest: Floats,
    examples: ExampleSpectra,
    labels: NDArray[np.int64],
    lines: Mapping[str, float],
    norm_wave: float,
) -> Figure:
    """Draw a few members of each class, a row a class.

    Parameters
    ----------
    wave_rest : (L,) [Å, rest frame]
    examples : Examples
    labels : (n,)
        Their classes; as many of each as there is room for, 3.
    lines : mapping of str to float
        Features to rule: rest wavelength [Å].
    norm_wave : float [Å]
    """
    shown = np.unique(labels).tolist()
    if not shown:
        return message_figure("no class to show")
    figure = Figure((FIGURE_WIDTH, 0.8 + 1.15 * len(shown)), dpi=DPI)
    axes = figure.subplots(len(shown), N_EXAMPLES_PER_CLASS, sharex=True, squeeze=False)
    wave, unit, label = _wave_axis(wave_rest)
    axes[0, 0].set_xlim(_wave_limits(wave, np.any(examples.ivar > 0, axis=0)))
    for row, number in zip(axes, shown, strict=True):
        members = np.flatnonzero(labels == number)[:N_EXAMPLES_PER_CLASS].tolist()
        for ax, i in zip(row, members, strict=False):
            _draw_spectrum(ax, wave, examples, i)
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
    figure.supylabel(_flux_label(norm_wave), size=7.5)
    return figure


@with_report_style
def plot_anomalies(
    wave_rest: Floats, examples: ExampleSpectra, lines: Mapping[str, float], norm_wave: float
) -> Figure:
    """Draw the oddest spectra, at most ten, each with reconstruction, score and reason.

    Parameters
    ----------
    wave_rest : (L,) [Å, rest frame]
    examples : Examples
    lines : mapping of str to float
        Features to rule: rest wavelength [Å].
    norm_wave : float [Å]
    """
    n = min(len(examples.object_ids), 10)
    if n == 0:
        return message_figure("no odd spectrum to show")
    rows, cols = -(-n // 2), min(n, 2)
    figure = Figure((FIGURE_WIDTH, 0.9 + 1.75 * rows), dpi=DPI)
    axes = figure.subplots(rows, cols, sharex=True, squeeze=False)
    wave, unit, label = _wave_axis(wave_rest)
    axes[0, 0].set_xlim(_wave_limits(wave, np.any(examples.ivar > 0, axis=0)))
    for i, ax in enumerate(axes.flat):
        if i >= n:
            ax.set_axis_off()
            continue
        _draw_spectrum(ax, wave, examples, i)
        _set_title(ax, examples, i, f"{i + 1}  ")
        for x in lines.values():
            ax.axvline(unit * x, color=MUTED_COLOR, lw=0.4, ls=":", zorder=0)
    add_legend(figure, axes[0, 0])
    figure.supxlabel(label, size=7.5)
    figure.supylabel(_flux_label(norm_wave), size=7.5)
    return figure
