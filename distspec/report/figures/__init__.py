"""The report's figures: functions that take arrays and tables and return a matplotlib ``Figure``.

There is one module per subject, `draw` for all figures of a report, and `style` for what figures share. Only
this package imports matplotlib; pyplot is not used.
"""

from distspec.report.figures.classes import plot_class_examples, plot_class_medians
from distspec.report.figures.feedback import plot_discovery_curve
from distspec.report.figures.runs import plot_sweep_scores, plot_training_curves, plot_umap
from distspec.report.figures.spectra import plot_anomalies, plot_reconstructions
from distspec.report.figures.style import to_png

__all__ = [
    "plot_anomalies",
    "plot_class_examples",
    "plot_class_medians",
    "plot_discovery_curve",
    "plot_reconstructions",
    "plot_sweep_scores",
    "plot_training_curves",
    "plot_umap",
    "to_png",
]
