"""The report's figures: arrays and tables in, a matplotlib ``Figure`` out; no pyplot, no state left."""

from distspec.core.colors import class_color
from distspec.report.figures.marks import plot_feedback_progress
from distspec.report.figures.runs import find_best_epoch, plot_sweep_scores, plot_training_curves, plot_umap
from distspec.report.figures.spectra import (
    N_EXAMPLES_PER_CLASS,
    ExampleSpectra,
    plot_anomalies,
    plot_class_examples,
    plot_class_medians,
    plot_reconstructions,
)
from distspec.report.figures.style import (
    class_marker,
    float_column,
    get_cluster_labels,
    has_redshifts,
    spread_labels,
    to_png,
)

__all__ = [
    "N_EXAMPLES_PER_CLASS",
    "ExampleSpectra",
    "class_color",
    "class_marker",
    "find_best_epoch",
    "float_column",
    "get_cluster_labels",
    "has_redshifts",
    "plot_anomalies",
    "plot_class_examples",
    "plot_class_medians",
    "plot_feedback_progress",
    "plot_reconstructions",
    "plot_sweep_scores",
    "plot_training_curves",
    "plot_umap",
    "spread_labels",
    "to_png",
]
