"""Figure of doubtful redshifts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distspec.core.colors import DATA_COLOR, MODEL_COLOR, MUTED_COLOR
from distspec.core.spectrum import Floats
from distspec.report.data import DoubtfulRedshift, ExampleSpectra
from distspec.report.figures.flux_axis import choose_linear_width
from distspec.report.figures.lines import mark_lines, name_lines
from distspec.report.figures.spectra import draw_spectrum, flux_label, get_fit, wave_axis, wave_limits
from distspec.report.figures.style import DPI, FIGURE_WIDTH, message_figure, with_report_style

WIDTHS = (1.0, 2.0, 2.0)
"""Relative widths of p(z) and of the spectrum at either redshift."""


@with_report_style
def plot_doubtful_redshifts(
    wave_rest: Floats, doubtful: Sequence[DoubtfulRedshift], lines: Mapping[str, float], norm_wave: float
) -> Figure:
    """Plot p(z) and the spectrum at the redshifts of the archive and of the model, one row for each.

    Parameters
    ----------
    wave_rest : ndarray of shape (n_pixels,)
        Rest-frame wavelength grid [Angstrom].
    doubtful : sequence of DoubtfulRedshift
        Spectra to plot.
    lines : mapping of str to float
        Rest wavelengths of the features to name [Angstrom].
    norm_wave : float
        Wavelength at which the spectra are normalized [Angstrom].

    Returns
    -------
    Figure
    """
    n = len(doubtful)
    if n == 0:
        return message_figure("no doubtful redshift to show")
    figure = Figure((FIGURE_WIDTH, 0.9 + 1.35 * n), dpi=DPI)
    axes = figure.subplots(n, 3, squeeze=False, width_ratios=WIDTHS)
    wave, unit, label = wave_axis(wave_rest)
    examples = [_make_examples(each) for each in doubtful]
    linear_width = choose_linear_width(get_fit(each, i) for each in examples for i in (0, 1))
    for row, (each, spectra) in enumerate(zip(doubtful, examples, strict=True)):
        _draw_density(axes[row, 0], each)
        for i, (owner, z) in enumerate((("archive", each.z_archive), ("model", each.z_model))):
            ax = axes[row, 1 + i]
            if not (spectra.ivar[i] > 0).any():
                ax.text(
                    0.5,
                    0.5,
                    "cannot be normalized at this redshift",
                    transform=ax.transAxes,
                    ha="center",
                    va="center",
                    size=6,
                )
                ax.set(xticks=[], yticks=[])
            else:
                draw_spectrum(ax, wave, spectra, i, linear_width)
                mark_lines((ax,), lines, unit)
            ax.set_xlim(wave_limits(wave, np.ones(len(wave), bool)))
            room = 0.0
            if row == 0:
                width = FIGURE_WIDTH * 0.9 * WIDTHS[1] / sum(WIDTHS)
                room = name_lines(ax, lines, unit, width, 0.75 * figure.get_figheight() / n)
            ax.set_title(f"{owner}: z = {z:.3f}", loc="left", size=6, pad=3 + room)
    axes[-1, 0].set_xlabel("redshift", size=7)
    for ax in axes[-1, 1:]:
        ax.set_xlabel(label, size=7)
    for ax in axes[:, 1]:
        ax.set_ylabel(flux_label(norm_wave, linear_width), size=6)
    return figure


def _make_examples(each: DoubtfulRedshift) -> ExampleSpectra:
    """Return a spectrum at both redshifts, as the functions that draw spectra take it."""
    z = np.array([each.z_archive, each.z_model])
    return ExampleSpectra([each.object_id] * 2, z, each.flux, each.ivar, each.recon, [""] * 2)


def _draw_density(ax: Axes, each: DoubtfulRedshift) -> None:
    """Draw the probabilities of redshifts, with the archive's and the model's."""
    ax.vlines(each.pdf_z, 0.0, each.pdf_probability / each.pdf_probability.max(), color=DATA_COLOR, lw=0.8)
    for z, color, style in ((each.z_archive, MUTED_COLOR, "--"), (each.z_model, MODEL_COLOR, "-")):
        ax.axvline(z, color=color, lw=0.9, ls=style)
    low, high = sorted((each.z_archive, each.z_model))
    margin = 0.1 * (high - low) + 0.05
    ax.set_xlim(min(low, each.pdf_z.min()) - margin, max(high, each.pdf_z.max()) + margin)
    ax.set(ylim=(0.0, 1.15), yticks=[])
    ax.set_ylabel("p(z)", size=6)
    name = each.object_id
    name = name if len(name) <= 30 else f"{name[:14]}…{name[-15:]}"
    ax.set_title(f"{name}\np(wrong) = {each.p_outlier:.3f}", loc="left", size=5.2, parse_math=False)
