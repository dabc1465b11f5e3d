"""All figures of a report."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from distspec.report.data import ReportData
from distspec.report.figures.classes import plot_class_examples, plot_class_medians
from distspec.report.figures.feedback import plot_discovery_curve
from distspec.report.figures.runs import plot_sweep_scores, plot_training_curves, plot_umap
from distspec.report.figures.spectra import plot_anomalies, plot_reconstructions
from distspec.report.tables import float_column, get_cluster_labels


def draw_figures(data: ReportData) -> dict[str, Figure]:
    """Draw every figure of a report, by the name of its PNG file.

    Parameters
    ----------
    data : ReportData
        Data of the report.
    """
    objects, wave, lines, norm_wave = data.objects, data.wave_rest, data.lines, data.norm_wave
    umap = np.stack([float_column(objects, "umap_0"), float_column(objects, "umap_1")], axis=1)
    figures = {
        "reconstructions": plot_reconstructions(wave, data.quartile_examples, norm_wave),
        "training": plot_training_curves(data.history, data.best_epoch),
        "map": plot_umap(
            umap, get_cluster_labels(objects), float_column(objects, "z"), float_column(objects, "recon_mse")
        ),
        "classes": plot_class_medians(data.class_medians, objects, lines, norm_wave),
        "examples": plot_class_examples(
            wave, data.class_examples, data.class_example_labels, lines, norm_wave
        ),
        "anomalies": plot_anomalies(wave, data.anomaly_examples, lines, norm_wave),
        "sweep": plot_sweep_scores(data.sweep, data.null_tests),
    }
    if data.discovery_curve is not None:
        figures["feedback"] = plot_discovery_curve(data.discovery_curve)
    return figures
