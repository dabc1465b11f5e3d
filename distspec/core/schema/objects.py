"""Columns of ``objects``, which has one row per spectrum, and of the predictions for new spectra."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa

from distspec.core.schema.columns import (
    ANOMALY_RANK,
    ANOMALY_SCORE,
    CLASS_ID,
    CLASS_NAME,
    CLUSTER_LABEL,
    HEALPIX,
    HUMAN_LABEL,
    LN_BAYES_FACTOR,
    NORM_SNR,
    OBJECT_ID,
    PREVIOUS_CLASS_ID,
    RECON_CHI2_RED,
    REDSHIFT,
    REDSHIFT_SOURCE,
    SNR,
    SOURCE_ID,
    STORE_ROW,
    VERSION,
    Column,
)
from distspec.core.schema.redshifts import (
    MEASURED_REDSHIFT_COLUMNS,
    PREDICTED_REDSHIFT_COLUMNS,
    REDSHIFT_ANOMALY,
)

_FLUX_UNIT = "erg s-1 cm-2 Angstrom-1"
AMPLITUDE = Column(
    "amplitude",
    pa.float32(),
    "",
    "Factor that scales the decoded spectrum to the data; 1 if the model fits no amplitude.",
)
RECON_MSE = Column(
    "recon_mse",
    pa.float32(),
    "",
    "Mean squared error of the reconstruction over valid pixels, in arcsinh of the normalized flux.",
)
LOG_PROB = Column(
    "log_prob", pa.float32(), "", "Natural logarithm of the latents' density under a Gaussian mixture."
)
ANOMALY_COMPONENTS = (
    Column(
        "anomaly_recon",
        pa.float32(),
        "dex",
        "Anomaly component: chi-squared of the reconstruction, relative to spectra of the same S/N and "
        "class.",
    ),
    Column(
        "anomaly_line",
        pa.float32(),
        "dex",
        "Anomaly component: largest residual of the width of a spectral line.",
    ),
)
ANOMALY_COLUMNS = (LOG_PROB, ANOMALY_SCORE, *ANOMALY_COMPONENTS, ANOMALY_RANK)
BAD_PIXEL_COLUMNS = (
    Column(
        "artefact_spikes",
        pa.float32(),
        "",
        "Summed heights of spikes and plateaus that are sharper than the line spread function [sigma].",
    ),
    Column(
        "artefact_negative",
        pa.float32(),
        "",
        "Significance of the most negative run of adjacent pixels [sigma].",
    ),
    Column(
        "artefact_edge",
        pa.float32(),
        "",
        "Excess of the median flux at either end over 1.1 times the flux farther inside [sigma per pixel].",
    ),
    Column(
        "artefact_scatter",
        pa.float32(),
        "",
        "Robust pixel-to-pixel scatter divided by the scatter expected from the errors; 1 if they are right.",
    ),
    Column(
        "artefact_gaps", pa.float32(), "", "Fraction of the pixels in the instrument's range that are masked."
    ),
    Column(
        "artefact_score",
        pa.float32(),
        "",
        "Largest artefact statistic divided by its threshold; the spectrum is flagged at 1 or above.",
    ),
    Column(
        "n_masked",
        pa.float32(),
        "",
        "Number of otherwise valid pixels that were masked as bad before the spectrum was encoded.",
    ),
)
GALAXY_TYPE_COLUMNS = (
    Column(
        "galaxy_type",
        pa.string(),
        "",
        "Galaxy type suggested by published criteria on the measurements; unknown if none applies.",
    ),
    Column(
        "galaxy_type_confidence",
        pa.float32(),
        "",
        "Probability that this type's criteria hold and no earlier rule's do.",
    ),
    Column(
        "galaxy_type_reason",
        pa.string(),
        "",
        "Measured values, the publication of the criteria, and the criteria that the spectrum does not "
        "cover.",
    ),
)


def build_clustering_columns(n_classes: int) -> tuple[Column, ...]:
    """Return the columns that the cluster stage adds to every spectrum.

    Parameters
    ----------
    n_classes : int
        Number of classes.

    Returns
    -------
    tuple of Column
    """
    f32 = pa.float32()
    return (
        Column("umap_0", f32, "", "First coordinate of the two-dimensional UMAP embedding."),
        Column("umap_1", f32, "", "Second coordinate of the two-dimensional UMAP embedding."),
        CLUSTER_LABEL,
        Column("cluster_prob", f32, "", "Probability of membership in the spectrum's class."),
        Column(
            "cluster_entropy",
            f32,
            "",
            "Normalized entropy of the class probabilities: 0 for certain, 1 for equally likely in all "
            "classes.",
        ),
        Column(
            "cluster_stability",
            f32,
            "",
            "Membership stability: fraction of the class that shares a cluster with this spectrum, "
            "averaged over the members of the clustering ensemble; 0 for noise.",
        ),
        *(
            Column(f"cluster_prob_{k:02d}", f32, "", f"Probability of membership in class {k}.")
            for k in range(n_classes)
        ),
    )


def build_objects_schema(
    n_latents: int,
    measurements: Sequence[Column] = (),
    n_classes: int = 0,
    observation_columns: Sequence[Column] = (),
) -> tuple[Column, ...]:
    """Return the columns of ``objects``, which has one row per spectrum.

    Parameters
    ----------
    n_latents : int
        Number of latent variables.
    measurements : sequence of Column
        Measurements of the spectra and of their reconstructions.
    n_classes : int
        Number of classes.
    observation_columns : sequence of Column
        Columns of the archive that say which observation and reduction a spectrum comes from.

    Returns
    -------
    tuple of Column
    """
    f32 = pa.float32()
    return (
        OBJECT_ID,
        SOURCE_ID,
        STORE_ROW,
        VERSION,
        *_OBSERVATION_COLUMNS,
        *observation_columns,
        HEALPIX,
        REDSHIFT,
        REDSHIFT_SOURCE,
        *MEASURED_REDSHIFT_COLUMNS,
        *_PREPROCESSING_COLUMNS,
        *measurements,
        *GALAXY_TYPE_COLUMNS,
        HUMAN_LABEL,
        *(Column(f"z_mean_{i:02d}", f32, "", f"Posterior mean of latent {i}.") for i in range(n_latents)),
        *(
            Column(
                f"z_log_var_{i:02d}", f32, "", f"Natural logarithm of the posterior variance of latent {i}."
            )
            for i in range(n_latents)
        ),
        AMPLITUDE,
        RECON_MSE,
        RECON_CHI2_RED,
        *BAD_PIXEL_COLUMNS,
        *build_clustering_columns(n_classes),
        CLASS_ID,
        CLASS_NAME,
        PREVIOUS_CLASS_ID,
        *ANOMALY_COLUMNS,
        REDSHIFT_ANOMALY,
    )


_OBSERVATION_COLUMNS = (
    Column("root", pa.string(), "", "Field or program folder in the archive."),
    Column("srcid", pa.string(), "", "Source number within root, as the archive gives it."),
    Column("grating", pa.string(), "", "Disperser."),
    Column("filter", pa.string(), "", "Blocking filter."),
    Column("grade", pa.int8(), "", "Redshift grade, from 3 for robust to 0 for bad; -1 if not graded."),
    Column("ra", pa.float64(), "deg", "Right ascension, ICRS.", "pos.eq.ra;meta.main"),
    Column("dec", pa.float64(), "deg", "Declination, ICRS.", "pos.eq.dec;meta.main"),
)
_PREPROCESSING_COLUMNS = (
    Column(
        "norm",
        pa.float64(),
        _FLUX_UNIT,
        "Rest-frame flux density, (1+z) times the observed one, that the spectrum was divided by.",
    ),
    Column(
        "norm_err",
        pa.float64(),
        _FLUX_UNIT,
        "Standard error of norm; both are null if the file gives no flux unit.",
    ),
    NORM_SNR,
    Column(
        "norm_window",
        pa.int8(),
        "",
        "Index of the normalization window that was used; 0 is the preferred one.",
    ),
    Column(
        "slope",
        pa.float32(),
        "",
        "Fitted slope beta of f_lambda ~ lambda^beta; null if the sample's median slope was used instead.",
    ),
    SNR,
    Column("n_valid", pa.int32(), "", "Number of valid pixels on the grid."),
    Column(
        "split",
        pa.string(),
        "",
        "Set of the spectrum in training: train or validation; none if the model has not seen it.",
    ),
)


def build_prediction_schema(
    n_latents: int, measurements: Sequence[Column], n_classes: int
) -> tuple[Column, ...]:
    """Return the columns of predictions for new spectra: those of ``objects`` that a new spectrum has.

    Parameters
    ----------
    n_latents : int
        Number of latent variables.
    measurements : sequence of Column
        Measurements of the spectra and of their reconstructions.
    n_classes : int
        Number of classes.

    Returns
    -------
    tuple of Column
    """
    columns = {column.name: column for column in build_objects_schema(n_latents, measurements, n_classes)}
    missing = {"source_id", "version", "root", "srcid", "grating", "filter", "grade", "ra", "dec", "split"}
    missing |= {column.name for column in MEASURED_REDSHIFT_COLUMNS}
    missing -= {column.name for column in PREDICTED_REDSHIFT_COLUMNS}
    missing |= {REDSHIFT_ANOMALY.name, HUMAN_LABEL.name, PREVIOUS_CLASS_ID.name, STORE_ROW.name, HEALPIX.name}
    columns |= {
        "z": replace(REDSHIFT, description="Redshift, given or measured: see z_source."),
        **{column.name: column for column in PREDICTED_REDSHIFT_COLUMNS},
        "anomaly_rank": replace(
            ANOMALY_RANK,
            description="Rank that the anomaly score would have among the run's; 1 is the most anomalous.",
        ),
        "reason": Column("reason", pa.string(), "", "Why the spectrum is anomalous."),
        "neighbors": Column(
            "neighbors", pa.list_(pa.string()), "", "object_id of the most similar spectra of the run."
        ),
        "ln_bayes_factors": Column(
            "ln_bayes_factors",
            pa.list_(pa.float32()),
            "",
            f"Logarithms of the Bayes factors of the neighbors. {LN_BAYES_FACTOR.description}",
        ),
    }
    return tuple(column for name, column in columns.items() if name not in missing)
