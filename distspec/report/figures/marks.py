"""The figure of what people marked."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from distspec.anomaly.feedback import DiscoveryCurve
from distspec.core.colors import DATA_COLOR, MODEL_COLOR, MUTED_COLOR
from distspec.report.figures.style import DPI, FIGURE_WIDTH, with_report_style


@with_report_style
def plot_feedback_progress(progress: DiscoveryCurve) -> Figure:
    """Draw how many interesting spectra were found after each mark, and in the run's own order.

    Parameters
    ----------
    progress : Progress
        Of one mark or more.
    """
    figure = Figure((FIGURE_WIDTH, 2.7), dpi=DPI)
    ax = figure.subplots()
    looks = np.arange(len(progress.n_found))
    most = progress.n_found_by_rank + progress.n_unmarked_by_rank
    if progress.n_unmarked_by_rank.any():
        label = "… if all unmarked ones were interesting"
        ax.fill_between(
            looks,
            progress.n_found_by_rank,
            most,
            step="post",
            color=MUTED_COLOR,
            alpha=0.3,
            lw=0,
            label=label,
        )
    ax.step(
        looks,
        progress.n_found_by_rank,
        where="post",
        color=DATA_COLOR,
        lw=1.0,
        ls="--",
        label="in the run's own order",
    )
    ax.step(looks, progress.n_found, where="post", color=MODEL_COLOR, lw=1.4, label="as they were marked")
    top = max(int(progress.n_found[-1]), int(progress.n_found_by_rank[-1]), 1)
    ax.set(xlabel="spectra looked at", ylabel="interesting ones", xlim=(0, looks[-1]), ylim=(0, 1.15 * top))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(5, integer=True))
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper left", ncols=3)
    return figure
