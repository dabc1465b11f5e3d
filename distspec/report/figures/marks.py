"""The figure of what people marked."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from distspec.anomaly.feedback import Progress
from distspec.core.colors import DATA, FAINT, MODEL
from distspec.report.figures.style import DPI, WIDTH, styled


@styled
def found_by_marks(progress: Progress) -> Figure:
    """Draw how many interesting spectra were found after each mark, and in the run's own order.

    Parameters
    ----------
    progress : Progress
        Of one mark or more.
    """
    figure = Figure((WIDTH, 2.7), dpi=DPI)
    ax = figure.subplots()
    looks = np.arange(len(progress.found))
    most = progress.own + progress.unmarked
    if progress.unmarked.any():
        label = "… if all unmarked ones were interesting"
        ax.fill_between(looks, progress.own, most, step="post", color=FAINT, alpha=0.3, lw=0, label=label)
    ax.step(looks, progress.own, where="post", color=DATA, lw=1.0, ls="--", label="in the run's own order")
    ax.step(looks, progress.found, where="post", color=MODEL, lw=1.4, label="as they were marked")
    top = max(int(progress.found[-1]), int(progress.own[-1]), 1)
    ax.set(xlabel="spectra looked at", ylabel="interesting ones", xlim=(0, looks[-1]), ylim=(0, 1.15 * top))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(5, integer=True))
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper left", ncols=3)
    return figure
