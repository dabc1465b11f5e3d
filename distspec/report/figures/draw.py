"""All figures of a report."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from distspec.report.data import N_THUMBNAIL_COLUMNS, ReportData
from distspec.report.figures.classes import plot_class_examples, plot_class_medians
from distspec.report.figures.feedback import plot_discovery_curve
from distspec.report.figures.maps import plot_class_maps, plot_external_maps, plot_property_maps
from distspec.report.figures.redshifts import plot_doubtful_redshifts
from distspec.report.figures.runs import plot_sweep_scores, plot_training_curves
from distspec.report.figures.sky import plot_sky
from distspec.report.figures.spectra import plot_anomalies, plot_reconstructions, plot_thumbnails
from distspec.report.figures.style import class_display_name
from distspec.report.tables import float_column, get_class_median, get_cluster_labels


def draw_figures(data: ReportData) -> dict[str, Figure]:
    """Draw every figure of a report, by the name of its files.

    Parameters
    ----------
    data : ReportData
        Data of the report.
    """
    objects, wave, lines, norm_wave = data.objects, data.wave_rest, data.lines, data.norm_wave
    names, labels = data.class_names, get_cluster_labels(objects)
    umap = np.stack([float_column(objects, "umap_0"), float_column(objects, "umap_1")], axis=1)
    z, snr, mse, score = (float_column(objects, n) for n in ("z", "snr", "recon_mse", "anomaly_score"))
    fields = np.array([str(name or "") for name in objects["root"].to_pylist()], dtype=np.str_)
    wrapped = {label: class_display_name(label, names, 18) for label in {*names, -1}}
    top_labels = get_cluster_labels(data.anomalies)[: len(data.anomaly_examples.object_ids)].tolist()
    class_curves = [(label, get_class_median(data.class_medians, label)) for label in top_labels]
    ra, dec = float_column(objects, "ra"), float_column(objects, "dec")
    figures = {"sky": plot_sky(ra, dec, labels, fields)} if np.isfinite(ra).any() else {}
    figures |= {
        "reconstructions": plot_reconstructions(wave, data.quartile_examples, lines, norm_wave),
        "training": plot_training_curves(data.history, data.best_epoch),
        "map": plot_class_maps(umap, data.space, labels, names),
        "properties": plot_property_maps(umap, z, snr, mse, score),
        "classes": plot_class_medians(data.class_medians, objects, lines, norm_wave, names),
        "examples": plot_class_examples(
            wave, data.class_examples, data.class_example_labels, lines, norm_wave, names
        ),
        "thumbnails": plot_thumbnails(
            wave, data.thumbnails, data.thumbnail_labels, wrapped, N_THUMBNAIL_COLUMNS
        ),
        "anomalies": plot_anomalies(
            wave, data.anomaly_examples, lines, norm_wave, data.odd_features, class_curves
        ),
        "sweep": plot_sweep_scores(data.sweep, data.null_tests),
    }
    if data.doubtful_redshifts:
        figures["redshifts"] = plot_doubtful_redshifts(wave, data.doubtful_redshifts, lines, norm_wave)
    if data.map_columns:
        figures["external"] = plot_external_maps(umap, data.map_columns)
    if data.discovery_curve is not None:
        figures["feedback"] = plot_discovery_curve(data.discovery_curve)
    return figures
