"""The report's figures: functions that take arrays and tables and return a matplotlib ``Figure``.

There is one module per subject, `draw` for all figures of a report, `output` for their files, and `style` for
what figures share. Only this package imports matplotlib; pyplot is not used.
"""

from distspec.report.figures.classes import plot_class_examples, plot_class_medians
from distspec.report.figures.feedback import plot_discovery_curve
from distspec.report.figures.maps import plot_class_maps, plot_external_maps, plot_property_maps
from distspec.report.figures.output import FigureFiles, render_figure, to_png
from distspec.report.figures.runs import plot_sweep_scores, plot_training_curves
from distspec.report.figures.sky import plot_sky
from distspec.report.figures.spectra import plot_anomalies, plot_reconstructions, plot_thumbnails

__all__ = [
    "FigureFiles",
    "plot_anomalies",
    "plot_class_examples",
    "plot_class_maps",
    "plot_class_medians",
    "plot_discovery_curve",
    "plot_external_maps",
    "plot_property_maps",
    "plot_reconstructions",
    "plot_sky",
    "plot_sweep_scores",
    "plot_thumbnails",
    "plot_training_curves",
    "render_figure",
    "to_png",
]
