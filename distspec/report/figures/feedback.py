"""Figure of the interesting spectra found with each mark."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from distspec.anomaly.feedback import DiscoveryCurve
from distspec.core.colors import DATA_COLOR, MODEL_COLOR, MUTED_COLOR
from distspec.report.figures.style import DPI, FIGURE_WIDTH, with_report_style


@with_report_style
def plot_discovery_curve(curve: DiscoveryCurve) -> Figure:
    """Plot how many interesting spectra were found with each mark, and by the run's ranking alone.

    Parameters
    ----------
    curve : DiscoveryCurve
        Curve of at least one mark.

    Returns
    -------
    Figure
    """
    figure = Figure((FIGURE_WIDTH, 2.7), dpi=DPI)
    ax = figure.subplots()
    n_looked_at = np.arange(len(curve.n_found))
    upper = curve.n_found_by_rank + curve.n_unmarked_by_rank
    if curve.n_unmarked_by_rank.any():
        ax.fill_between(
            n_looked_at,
            curve.n_found_by_rank,
            upper,
            step="post",
            color=MUTED_COLOR,
            alpha=0.3,
            lw=0,
            label="by anomaly rank, if all unmarked spectra were interesting",
        )
    ax.step(
        n_looked_at,
        curve.n_found_by_rank,
        where="post",
        color=DATA_COLOR,
        lw=1.0,
        ls="--",
        label="by anomaly rank",
    )
    ax.step(
        n_looked_at, curve.n_found, where="post", color=MODEL_COLOR, lw=1.4, label="in order of the marks"
    )
    top = max(int(curve.n_found[-1]), int(curve.n_found_by_rank[-1]), 1)
    ax.set(
        xlabel="spectra inspected",
        ylabel="interesting spectra",
        xlim=(0, n_looked_at[-1]),
        ylim=(0, 1.15 * top),
    )
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(5, integer=True))
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper left", ncols=3)
    return figure
