"""Figures of single spectra: reconstructions, anomalies and thumbnails; functions for figures of spectra."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

from distspec.core.colors import DATA_COLOR, ERROR_COLOR, MODEL_COLOR, MUTED_COLOR, class_color
from distspec.core.spectrum import Floats
from distspec.report.data import ExampleSpectra
from distspec.report.figures.flux_axis import choose_linear_width, find_flux_limits, scale_flux, set_flux_axis
from distspec.report.figures.lines import find_line_name, mark_lines, name_lines
from distspec.report.figures.style import (
    DPI,
    FIGURE_WIDTH,
    add_legend,
    message_figure,
    with_report_style,
)
from distspec.report.odd_features import OddFeature
from distspec.report.tables import has_redshifts

MAX_LINEAR_RESIDUAL = 10.0
"""Largest residual of a linear axis; beyond, the axis of residuals is arcsinh-scaled [sigma]."""
MAX_ANOMALIES = 10
"""Largest number of anomalies that are drawn."""
ODD_HALF_WIDTH = 0.012
"""Half of the width of the mark of an odd feature, as a fraction of its wavelength."""
ODD_COLOR = "#e8c547"
"""Color of the mark of an odd feature."""


def wave_axis(wave_rest: Floats) -> tuple[Floats, float, str]:
    """Return wavelengths in the unit of the axis, the length of 1 Å in that unit, and the axis label.

    Parameters
    ----------
    wave_rest : ndarray of shape (n_pixels,)
        Rest-frame wavelength [Angstrom]; if any exceeds 1 µm, the unit of the axis is µm.
    """
    if wave_rest.max() > 1e4:
        return 1e-4 * wave_rest, 1e-4, "rest wavelength [µm]"
    return wave_rest, 1.0, "rest wavelength [Å]"


def flux_label(norm_wave: float, linear_width: float | None = None) -> str:
    """Return the label of the flux axis for spectra normalized at a wavelength.

    Parameters
    ----------
    norm_wave : float
        Rest wavelength at which the normalized flux is 1 [Angstrom].
    linear_width : float or None
        Linear width of an arcsinh-scaled axis.
    """
    position = f"{1e-4 * norm_wave:.3g} µm" if norm_wave > 1e4 else f"{norm_wave:.0f} Å"
    scale = "" if linear_width is None else ", arcsinh scale"
    return rf"$f_\lambda\;/\;f_\lambda$({position}){scale}"


def wave_limits(wave: Floats, valid: NDArray[np.bool_]) -> tuple[float, float]:
    """Return x limits that contain all valid pixels, with a small margin.

    Parameters
    ----------
    wave : ndarray of shape (n_pixels,)
        Wavelength in the unit of the axis.
    valid : ndarray of bool, shape (n_pixels,)
        Pixels to contain; if there are none, all pixels are.
    """
    inside = wave[valid] if valid.any() else wave
    return float(inside.min()) * 0.995, float(inside.max()) * 1.005


def get_data(examples: ExampleSpectra, i: int) -> Floats:
    """Return the flux of a spectrum, with NaN for masked pixels, of shape (n_pixels,).

    Parameters
    ----------
    examples : ExampleSpectra
        Spectra.
    i : int
        Position of the spectrum.
    """
    return np.where(examples.ivar[i] > 0, examples.flux[i], np.nan).astype(float)


def get_fit(examples: ExampleSpectra, i: int) -> Floats:
    """Return the reconstruction of a spectrum where it has data, NaN elsewhere, of shape (n_pixels,).

    Parameters
    ----------
    examples : ExampleSpectra
        Spectra.
    i : int
        Position of the spectrum.
    """
    return np.where(examples.ivar[i] > 0, examples.recon[i], np.nan).astype(float)


def draw_spectrum(
    ax: Axes, wave: Floats, examples: ExampleSpectra, i: int, linear_width: float | None
) -> None:
    """Draw a spectrum with its 1-sigma band and its reconstruction.

    Parameters
    ----------
    ax : Axes
        Axes to draw on.
    wave : ndarray of shape (n_pixels,)
        Wavelength in the unit of the axis.
    examples : ExampleSpectra
        Spectra and their reconstructions.
    i : int
        Position of the spectrum in `examples`.
    linear_width : float or None
        Linear width of an arcsinh-scaled axis; None for a linear axis.
    """
    data, fit = get_data(examples, i), get_fit(examples, i)
    sigma = 1 / np.sqrt(np.where(examples.ivar[i] > 0, examples.ivar[i], np.inf), dtype=float)
    ax.fill_between(wave, data - sigma, data + sigma, step="mid", color=ERROR_COLOR, lw=0, label="±1σ")
    ax.step(wave, data, where="mid", color=DATA_COLOR, lw=0.4, label="data")
    ax.plot(wave, fit, color=MODEL_COLOR, lw=1.0, label="reconstruction", zorder=3)
    missing = np.where(np.isnan(data), examples.recon[i], np.nan)
    ax.plot(wave, missing, color=MODEL_COLOR, lw=0.6, ls=(0, (3, 2)), label="reconstruction, no data")
    set_flux_axis(ax, [data], [fit], linear_width)


def compute_residual(examples: ExampleSpectra, i: int) -> Floats:
    """Return (data - reconstruction) / sigma of a spectrum, with NaN for masked pixels.

    Parameters
    ----------
    examples : ExampleSpectra
        Spectra and their reconstructions.
    i : int
        Position of the spectrum.
    """
    return (get_data(examples, i) - examples.recon[i]) * np.sqrt(examples.ivar[i], dtype=float)


def draw_residual(ax: Axes, wave: Floats, residual: Floats) -> None:
    """Draw the residuals of a spectrum with a band of ±1.

    Parameters
    ----------
    ax : Axes
        Axes to draw on.
    wave : ndarray of shape (n_pixels,)
        Wavelength in the unit of the axis.
    residual : ndarray of shape (n_pixels,)
        Residuals [sigma].
    """
    finite = np.abs(residual[np.isfinite(residual)])
    largest = float(finite.max()) if finite.size else 0.0
    if largest > MAX_LINEAR_RESIDUAL:
        limit = 1.5 * largest
        decade = 10.0 ** np.floor(np.log10(largest))
        ax.set_yscale("asinh", linear_width=2.0)
        ax.yaxis.set_major_locator(FixedLocator([-decade, 0.0, decade]))
        ax.yaxis.set_minor_locator(NullLocator())
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))
    else:
        limit = max(1.2 * largest, 4.0)
        ax.yaxis.set_major_locator(MaxNLocator(2, symmetric=True))
    ax.set_ylim(-limit, limit)
    ax.axhspan(-1, 1, color=ERROR_COLOR, lw=0)
    ax.axhline(0, color=MODEL_COLOR, lw=0.5)
    ax.plot(wave, residual, ".", color=DATA_COLOR, ms=1.2, mew=0)


class SpectrumAxes(NamedTuple):
    """Axes of one spectrum: its flux, and its residuals below."""

    flux: Axes
    residual: Axes


def add_spectrum_axes(figure: Figure, n: int, n_columns: int) -> list[SpectrumAxes]:
    """Add a grid of axes for spectra and their residuals, which share the wavelength axis.

    Parameters
    ----------
    figure : Figure
        Figure to fill.
    n : int
        Number of spectra.
    n_columns : int
        Number of columns.

    Returns
    -------
    list of SpectrumAxes
        One entry for each spectrum, row by row.
    """
    n_rows = -(-n // n_columns)
    axes = figure.subplots(2 * n_rows, n_columns, sharex=True, squeeze=False, height_ratios=[3, 1] * n_rows)
    result: list[SpectrumAxes] = []
    for i in range(n_rows * n_columns):
        row, column = divmod(i, n_columns)
        cell = SpectrumAxes(axes[2 * row, column], axes[2 * row + 1, column])
        result.append(cell)
        if i >= n:
            cell.flux.set_axis_off()
            cell.residual.set_axis_off()
    return result[:n]


def draw_examples(
    figure: Figure,
    axes: Sequence[SpectrumAxes],
    wave_rest: Floats,
    examples: ExampleSpectra,
    lines: Mapping[str, float],
    norm_wave: float,
    titles: Sequence[str],
    n_columns: int,
) -> None:
    """Draw spectra, reconstructions and residuals, with the names of lines above each column.

    Parameters
    ----------
    figure : Figure
        Figure of the axes.
    axes : sequence of SpectrumAxes
        Result of `add_spectrum_axes`.
    wave_rest : ndarray of shape (n_pixels,)
        Rest-frame wavelength grid [Angstrom].
    examples : ExampleSpectra
        As many spectra as there are axes.
    lines : mapping of str to float
        Rest wavelengths of the features to name [Angstrom].
    norm_wave : float
        Wavelength at which the spectra are normalized [Angstrom].
    titles : sequence of str
        Title of each panel.
    n_columns : int
        Number of columns.
    """
    wave, unit, label = wave_axis(wave_rest)
    linear_width = choose_linear_width(get_fit(examples, i) for i in range(len(axes)))
    n_rows = max(1, round(len(axes) / n_columns))
    height = 0.55 * figure.get_figheight() / n_rows
    axes[0].flux.set_xlim(wave_limits(wave, np.any(examples.ivar > 0, axis=0)))
    for i, (ax, residual_ax) in enumerate(axes):
        draw_spectrum(ax, wave, examples, i, linear_width)
        draw_residual(residual_ax, wave, compute_residual(examples, i))
        mark_lines((ax, residual_ax), lines, unit)
        spec = ax.get_subplotspec()
        row, column = (spec.rowspan.start, spec.colspan.start) if spec is not None else (0, 0)
        room = 0.0
        if row == 0:
            room = name_lines(ax, lines, unit, 0.86 * FIGURE_WIDTH / n_columns, height)
        size = 6.3 if n_columns < 3 else 5.5
        ax.set_title(titles[i], loc="left", size=size, parse_math=False, linespacing=1.2, pad=3 + room)
        if column == 0:
            residual_ax.set_ylabel("Δ / σ", size=6)
    add_legend(figure, axes[0].flux)
    figure.supxlabel(label, size=7.5)
    figure.supylabel(flux_label(norm_wave, linear_width), size=7.5)


def _format_title(examples: ExampleSpectra, i: int, rank: str = "") -> str:
    """Return rank, shortened identifier, redshift and caption."""
    name = examples.object_ids[i]
    name = name if len(name) <= 44 else f"{name[:20]}…{name[-23:]}"
    caption = textwrap.wrap(examples.captions[i], 70, max_lines=3, placeholder=" …")
    z = f"   z = {examples.z[i]:.3f}" if has_redshifts(examples.z) else ""
    return "\n".join([f"{rank}{name}{z}", *caption])


@with_report_style
def plot_reconstructions(
    wave_rest: Floats, examples: ExampleSpectra, lines: Mapping[str, float], norm_wave: float
) -> Figure:
    """Plot spectra and their reconstructions above the residuals.

    Parameters
    ----------
    wave_rest : ndarray of shape (n_pixels,)
        Rest-frame wavelength grid [Angstrom].
    examples : ExampleSpectra
        Spectra to plot.
    lines : mapping of str to float
        Rest wavelengths of the features to name [Angstrom].
    norm_wave : float
        Wavelength at which the spectra are normalized [Angstrom].

    Returns
    -------
    Figure
    """
    n = len(examples.object_ids)
    if n == 0:
        return message_figure("no spectrum to show")
    figure = Figure((FIGURE_WIDTH, 1.3 + 2.2 * -(-n // 2)), dpi=DPI)
    n_columns = min(n, 2)
    axes = add_spectrum_axes(figure, n, n_columns)
    titles = [_format_title(examples, i) for i in range(n)]
    draw_examples(figure, axes, wave_rest, examples, lines, norm_wave, titles, n_columns)
    return figure


@with_report_style
def plot_anomalies(
    wave_rest: Floats,
    examples: ExampleSpectra,
    lines: Mapping[str, float],
    norm_wave: float,
    odd_features: Sequence[OddFeature | None] = (),
    class_curves: Sequence[tuple[int, Floats]] = (),
) -> Figure:
    """Plot the most anomalous spectra, at most ten, with reconstructions, residuals and the odd features.

    Parameters
    ----------
    wave_rest : ndarray of shape (n_pixels,)
        Rest-frame wavelength grid [Angstrom].
    examples : ExampleSpectra
        Spectra to plot, highest anomaly score first.
    lines : mapping of str to float
        Rest wavelengths of the features to name [Angstrom].
    norm_wave : float
        Wavelength at which the spectra are normalized [Angstrom].
    odd_features : sequence of OddFeature or None
        Feature to mark in each spectrum.
    class_curves : sequence of (int, ndarray of shape (n_pixels,))
        Class of each spectrum, and the median spectrum of the class.

    Returns
    -------
    Figure
    """
    n = min(len(examples.object_ids), MAX_ANOMALIES)
    if n == 0:
        return message_figure("no anomalous spectrum to show")
    n_columns = min(n, 2)
    figure = Figure((FIGURE_WIDTH, 1.3 + 1.95 * -(-n // 2)), dpi=DPI)
    axes = add_spectrum_axes(figure, n, n_columns)
    titles = [_format_title(examples, i, f"{i + 1}  ") for i in range(n)]
    draw_examples(figure, axes, wave_rest, examples, lines, norm_wave, titles, n_columns)
    wave, unit, _ = wave_axis(wave_rest)
    for (ax, _), (label, curve) in zip(axes, class_curves, strict=False):
        ax.plot(wave, curve, color=class_color(label), lw=0.6, alpha=0.8, zorder=2)
    for pair, feature in zip(axes, odd_features, strict=False):
        if feature is not None:
            _mark_odd_feature(pair, feature, lines, unit)
    return figure


def _mark_odd_feature(
    axes: SpectrumAxes, feature: OddFeature, lines: Mapping[str, float], unit: float
) -> None:
    """Shade the odd feature in both axes, and write what is odd at the top."""
    x = unit * feature.wave
    for ax in axes:
        ax.axvspan(
            x * (1 - ODD_HALF_WIDTH), x * (1 + ODD_HALF_WIDTH), color=ODD_COLOR, alpha=0.5, lw=0, zorder=0
        )
    low, high = axes.flux.get_xlim()
    is_right = x > 0.5 * (low + high)
    text = f"{feature.residual:+.0f} σ at {find_line_name(feature.wave, lines)}".replace("-", "−")
    axes.flux.annotate(
        text,
        (x * (1 - ODD_HALF_WIDTH if is_right else 1 + ODD_HALF_WIDTH), 0.97),
        xycoords=axes.flux.get_xaxis_transform(),
        xytext=(-2 if is_right else 2, 0),
        textcoords="offset points",
        ha="right" if is_right else "left", va="top", size=5.5, color="#7a5c00", parse_math=False,
        bbox={"boxstyle": "square,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.75}, zorder=6,
    )  # fmt: skip


@with_report_style
def plot_thumbnails(
    wave_rest: Floats,
    examples: ExampleSpectra,
    labels: NDArray[np.int64],
    class_names: Mapping[int, str],
    n_columns: int,
) -> Figure:
    """Plot small spectra of each class: random members, so that the spread of a class is seen.

    Parameters
    ----------
    wave_rest : ndarray of shape (n_pixels,)
        Rest-frame wavelength grid [Angstrom].
    examples : ExampleSpectra
        Spectra to plot.
    labels : ndarray of shape (n_examples,)
        Class of each spectrum; at most two rows of each class are plotted.
    class_names : mapping of int to str
        Text of each class, of several lines.
    n_columns : int
        Number of spectra in a row.

    Returns
    -------
    Figure
    """
    shown = sorted(np.unique(labels).tolist(), key=lambda label: (label < 0, label))
    if not shown:
        return message_figure("no class to show")
    members = {label: np.flatnonzero(labels == label)[: 2 * n_columns] for label in shown}
    rows = [
        (label, members[label][start : start + n_columns])
        for label in shown
        for start in range(0, len(members[label]), n_columns)
    ]
    figure = Figure((FIGURE_WIDTH, 0.45 + 0.52 * len(rows)), dpi=DPI)
    ax = figure.subplots()  # one for all thumbnails: a hundred axes would take as many times longer
    ax.set(xlim=(0, n_columns), ylim=(len(rows), 0), xticks=[], yticks=[], frame_on=False)
    wave, _, label_text = wave_axis(wave_rest)
    linear_width = choose_linear_width(get_fit(examples, i) for i in range(len(labels)))
    low, high = wave_limits(wave, np.any(examples.ivar > 0, axis=0))
    x = (wave - low) / (high - low)
    for row, (label, spectra) in enumerate(rows):
        for column, i in enumerate(spectra):
            frame = Rectangle((column, row), 1, 1, fill=False, lw=0.3, ec="#444444", clip_on=False)
            ax.add_patch(frame)
            data, fit = get_data(examples, i), get_fit(examples, i)
            bottom, top = scale_flux(np.array(find_flux_limits([data], [fit], linear_width)), linear_width)
            data, fit = ((top - scale_flux(flux, linear_width)) / (top - bottom) for flux in (data, fit))
            steps = ax.step(column + x, row + data, where="mid", color=MUTED_COLOR, lw=0.25)
            curve = ax.plot(column + x, row + fit, color=class_color(label), lw=0.7)
            for artist in (*steps, *curve):
                artist.set_clip_path(frame)
            ax.text(column + 0.97, row + 0.06, examples.captions[i], ha="right", va="top", size=4.2)
        if spectra[0] == members[label][0]:
            ax.text(-0.06, row + 0.5, class_names[label], ha="right", va="center", size=5.8)
    name, _, bracket = label_text.partition(" [")
    decimals = 0 if wave.max() > 100 else 2
    span = f"{wave.min():,.{decimals}f} to {wave.max():,.{decimals}f} {bracket.rstrip(']')}"
    figure.supxlabel(f"{name}: {span}", size=6.5)
    return figure
