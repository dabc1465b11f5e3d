"""Figures of single spectra: reconstructions and anomalies; functions shared by all figures of spectra."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from distspec.core.colors import DATA_COLOR, ERROR_COLOR, MODEL_COLOR, MUTED_COLOR
from distspec.core.spectrum import Floats
from distspec.report.data import ExampleSpectra
from distspec.report.figures.style import (
    DPI,
    FIGURE_WIDTH,
    add_legend,
    flux_range,
    message_figure,
    with_report_style,
)
from distspec.report.tables import has_redshifts


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


def flux_label(norm_wave: float) -> str:
    """Return the label of the flux axis for spectra normalized at a wavelength [Angstrom].

    Parameters
    ----------
    norm_wave : float
        Rest wavelength at which the normalized flux is 1 [Angstrom].
    """
    position = f"{1e-4 * norm_wave:.3g} µm" if norm_wave > 1e4 else f"{norm_wave:.0f} Å"
    return rf"$f_\lambda\;/\;f_\lambda$({position})"


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


def draw_spectrum(ax: Axes, wave: Floats, examples: ExampleSpectra, i: int) -> Floats:
    """Draw spectrum ``i`` with its 1-sigma band and reconstruction; return (data - recon) / sigma.

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

    Returns
    -------
    ndarray of shape (n_pixels,)
        NaN for masked pixels.
    """
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
    """Set a title of rank, shortened identifier, redshift and caption."""
    name = examples.object_ids[i]
    name = name if len(name) <= 44 else f"{name[:20]}…{name[-23:]}"
    caption = textwrap.wrap(examples.captions[i], 66, max_lines=2, placeholder=" …")
    z = f"   z = {examples.z[i]:.3f}" if has_redshifts(examples.z) else ""
    title = "\n".join([f"{rank}{name}{z}", *caption])
    ax.set_title(title, loc="left", parse_math=False, linespacing=1.25, pad=3)


@with_report_style
def plot_reconstructions(wave_rest: Floats, examples: ExampleSpectra, norm_wave: float) -> Figure:
    """Plot spectra and their reconstructions above the residuals.

    Parameters
    ----------
    wave_rest : ndarray of shape (n_pixels,)
        Rest-frame wavelength grid [Angstrom].
    examples : ExampleSpectra
        Spectra to plot.
    norm_wave : float
        Wavelength at which the spectra are normalized [Angstrom].

    Returns
    -------
    Figure
    """
    n = len(examples.object_ids)
    if n == 0:
        return message_figure("no spectrum to show")
    rows, cols = -(-n // 2), min(n, 2)
    figure = Figure((FIGURE_WIDTH, 0.5 + 2.45 * rows), dpi=DPI)
    axes = figure.subplots(2 * rows, cols, sharex=True, squeeze=False, height_ratios=[3, 1] * rows)
    wave, _, label = wave_axis(wave_rest)
    for i in range(rows * cols):
        ax, residual_ax = axes[i // cols * 2, i % cols], axes[i // cols * 2 + 1, i % cols]
        if i >= n:
            ax.set_axis_off()
            residual_ax.set_axis_off()
            continue
        residual = draw_spectrum(ax, wave, examples, i)
        _set_title(ax, examples, i)
        finite = np.abs(residual[np.isfinite(residual)])
        limit = float(np.clip(np.percentile(finite, 99), 4, 30)) if finite.size else 4.0
        residual_ax.axhspan(-1, 1, color=ERROR_COLOR, lw=0)
        residual_ax.axhline(0, color=MODEL_COLOR, lw=0.6)
        residual_ax.plot(wave, residual, ".", color=DATA_COLOR, ms=1.3)
        residual_ax.set(ylim=(-limit, limit), ylabel="residual / σ" if i % cols == 0 else "")
        residual_ax.yaxis.label.set_size(6)
        residual_ax.yaxis.set_major_locator(MaxNLocator(3, symmetric=True))
    axes[0, 0].set_xlim(wave_limits(wave, np.any(examples.ivar > 0, axis=0)))
    add_legend(figure, axes[0, 0])
    figure.supxlabel(label, size=7.5)
    figure.supylabel(flux_label(norm_wave), size=7.5)
    return figure


@with_report_style
def plot_anomalies(
    wave_rest: Floats, examples: ExampleSpectra, lines: Mapping[str, float], norm_wave: float
) -> Figure:
    """Plot the most anomalous spectra, at most ten, with their reconstructions.

    Parameters
    ----------
    wave_rest : ndarray of shape (n_pixels,)
        Rest-frame wavelength grid [Angstrom].
    examples : ExampleSpectra
        Spectra to plot, highest anomaly score first.
    lines : mapping of str to float
        Rest wavelengths of the features to mark [Angstrom].
    norm_wave : float
        Wavelength at which the spectra are normalized [Angstrom].

    Returns
    -------
    Figure
    """
    n = min(len(examples.object_ids), 10)
    if n == 0:
        return message_figure("no anomalous spectrum to show")
    rows, cols = -(-n // 2), min(n, 2)
    figure = Figure((FIGURE_WIDTH, 0.9 + 1.75 * rows), dpi=DPI)
    axes = figure.subplots(rows, cols, sharex=True, squeeze=False)
    wave, unit, label = wave_axis(wave_rest)
    axes[0, 0].set_xlim(wave_limits(wave, np.any(examples.ivar > 0, axis=0)))
    for i, ax in enumerate(axes.flat):
        if i >= n:
            ax.set_axis_off()
            continue
        draw_spectrum(ax, wave, examples, i)
        _set_title(ax, examples, i, f"{i + 1}  ")
        for x in lines.values():
            ax.axvline(unit * x, color=MUTED_COLOR, lw=0.4, ls=":", zorder=0)
    add_legend(figure, axes[0, 0])
    figure.supxlabel(label, size=7.5)
    figure.supylabel(flux_label(norm_wave), size=7.5)
    return figure
