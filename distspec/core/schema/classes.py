"""Columns of the tables of classes: properties, median spectra, identifiers, changes between runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa

from distspec.core.schema.columns import (
    CLASS_ID,
    CLASS_NAME,
    CLUSTER_LABEL,
    PREVIOUS_CLASS_ID,
    WAVE_REST,
    Column,
)
from distspec.core.schema.objects import GALAXY_TYPE_COLUMNS

_CLASSES_COLUMNS = (
    CLUSTER_LABEL,
    CLASS_ID,
    CLASS_NAME,
    Column(
        "change",
        pa.string(),
        "",
        "Change since the previous run: kept, new, split or merged; null for noise.",
    ),
    Column("n_spectra", pa.int64(), "", "Number of spectra in the class."),
    Column("n_sources", pa.int64(), "", "Number of sources in the class."),
    Column("share", pa.float64(), "", "Fraction of all spectra that are in the class."),
    Column("z_p16", pa.float64(), "", "16th percentile of redshift."),
    Column("z_p50", pa.float64(), "", "Median redshift."),
    Column("z_p84", pa.float64(), "", "84th percentile of redshift."),
    Column("snr_p50", pa.float64(), "", "Median of snr."),
    Column("recon_mse_p50", pa.float64(), "", "Median of recon_mse."),
    Column("stability_p50", pa.float64(), "", "Median of cluster_stability."),
    Column(
        "core_share",
        pa.float64(),
        "",
        "Fraction of the class whose cluster_stability is at least clustering.min_core_stability.",
    ),
)


def build_classes_schema(measurements: Sequence[Column] = ()) -> tuple[Column, ...]:
    """Return the columns of ``classes``, which has one row per class.

    Parameters
    ----------
    measurements : sequence of Column
        Measurements, made on the median spectrum of each class.

    Returns
    -------
    tuple of Column
    """
    on_median = (
        replace(
            column, description=f"{column.description.rstrip('.')}; for the median spectrum of the class."
        )
        for column in (*GALAXY_TYPE_COLUMNS, *measurements)
    )
    return (*_CLASSES_COLUMNS, *on_median)


CLASS_MEDIANS_SCHEMA = (
    CLUSTER_LABEL,
    CLASS_ID,
    WAVE_REST,
    Column("flux_p16", pa.float32(), "", "16th percentile of the normalized flux density f_lambda."),
    Column("flux_p50", pa.float32(), "", "Median of the normalized flux density f_lambda."),
    Column("flux_p84", pa.float32(), "", "84th percentile of the normalized flux density f_lambda."),
    Column(
        "n_valid",
        pa.int64(),
        "",
        "Number of spectra with this pixel valid, among at most 5000 spectra of the class.",
    ),
)
CLASS_IDS_SCHEMA = (
    CLASS_ID,
    Column("run_id", pa.string(), "", "Published run."),
    CLUSTER_LABEL,
    Column("n_spectra", pa.int64(), "", "Number of spectra of the class in that run."),
)
CLASS_CHANGES_SCHEMA = (
    CLASS_ID,
    PREVIOUS_CLASS_ID,
    Column(
        "change",
        pa.string(),
        "",
        "Kind of change: kept, split, merged, moved, new, gone, added, withdrawn, from noise or to noise.",
    ),
    Column(
        "n_spectra", pa.int64(), "", "Number of spectra that moved from the previous class to this class."
    ),
    Column(
        "jaccard",
        pa.float64(),
        "",
        "Jaccard index of the two classes, for the spectra that are in both runs.",
    ),
    Column("share_of_previous", pa.float64(), "", "Fraction of the previous class that is in this class."),
    Column("share_of_class", pa.float64(), "", "Fraction of this class that comes from the previous class."),
    Column(
        "distance",
        pa.float64(),
        "",
        "Distance between the class centers in latent space, in units of their root-mean-square radius; "
        "infinite if no spectrum of the previous class is left.",
    ),
    Column("reason", pa.string(), "", "Description of the change."),
)
