"""Figure of the skill of encoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from distspec.core.colors import CLASS_COLORS, MUTED_COLOR
from distspec.report.figures.style import DPI, FIGURE_WIDTH, with_report_style
from distspec.report.tables import format_property

MARKERS = "osD^vPX*"


@with_report_style
def plot_skill(scores: Sequence[Mapping[str, Any]]) -> Figure:
    """Plot the skill of each encoder for classes and for properties of the observation.

    Parameters
    ----------
    scores : sequence of mapping
        Rows of `distspec.report.encoder_scores.EncoderComparison.scores`.

    Returns
    -------
    Figure
    """
    encoders = list(dict.fromkeys(row["encoder"] for row in scores))
    properties = {
        task: list(dict.fromkeys(row["property"] for row in scores if row["task"] == task))
        for task in ("classes", "leakage")
    }
    n_lines = max(1, *map(len, properties.values()))
    figure = Figure((FIGURE_WIDTH, 0.9 + 0.24 * n_lines + 0.12 * len(encoders)), dpi=DPI)
    axes = figure.subplots(1, 2)
    titles = ("classes (more is better)", "leakage (less is better)")
    for ax, (task, shown), title in zip(axes, properties.items(), titles, strict=True):
        for line, name in enumerate(shown):
            rows = [row for row in scores if row["task"] == task and row["property"] == name]
            half_width = max(2.0 * row["null_std"] / (1.0 - row["null_mean"]) for row in rows)
            ax.fill_betweenx(
                [line - 0.42, line + 0.42], -half_width, half_width, color=MUTED_COLOR, alpha=0.3, lw=0
            )
            for row in rows:
                i = encoders.index(row["encoder"])
                offset = 0.6 * ((i + 0.5) / len(encoders) - 0.5)
                ax.errorbar(
                    row["skill"],
                    line + offset,
                    xerr=row["score_std"] / (1.0 - row["null_mean"]),
                    fmt=MARKERS[i % len(MARKERS)],
                    ms=3.5,
                    lw=0.8,
                    color=CLASS_COLORS[i % len(CLASS_COLORS)],
                )
        ax.axvline(0.0, color=MUTED_COLOR, lw=0.6)
        ax.set_yticks(np.arange(len(shown)), [format_property(name) for name in shown])
        ax.set(xlabel="skill", title=title, ylim=(max(len(shown), 1) - 0.5, -0.5))
    for i, name in enumerate(encoders):
        axes[0].plot(
            [], [], MARKERS[i % len(MARKERS)], ms=3.5, color=CLASS_COLORS[i % len(CLASS_COLORS)], label=name
        )
    figure.legend(loc="outside lower center", ncols=min(len(encoders), 5), frameon=False)
    return figure
