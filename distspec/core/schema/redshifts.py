"""Columns of redshifts that a model has measured, and of the table ``redshifts``."""

from __future__ import annotations

import pyarrow as pa

from distspec.core.schema.columns import OBJECT_ID, REDSHIFT_SOURCE, Column

_F64 = pa.float64()
MODEL_REDSHIFT = Column("z_model", _F64, "", "Redshift measured with the model: the maximum of p(z).")
MODEL_REDSHIFT_INTERVAL = (
    Column("z_model_p16", _F64, "", "16th percentile of p(z)."),
    Column("z_model_p84", _F64, "", "84th percentile of p(z)."),
    Column(
        "z_model_second",
        _F64,
        "",
        "Next solution of p(z), at 0.01 (1 + z) or more from z_model; null if there is none.",
    ),
    Column(
        "z_model_delta_chi2",
        pa.float32(),
        "",
        "Twice the difference of the logarithms of p(z) at z_model and at z_model_second.",
    ),
)
REDSHIFT_CLASS = Column(
    "z_class",
    pa.string(),
    "",
    "What the spectrum resembles: galaxy, noise without features, or other, which is no galaxy that the "
    "model knows: a star, or a spectrum with bad pixels.",
)
OUTLIER_PROBABILITY = Column(
    "p_outlier",
    pa.float32(),
    "",
    "Probability that the archive's redshift is wrong by more than 0.01 (1 + z), by p(z) and the fraction "
    "that is wrong beforehand; null where the archive has none or the redshift was not measured.",
)
REDSHIFT_ANOMALY = Column(
    "anomaly_redshift",
    pa.float32(),
    "dex",
    "Minus the logarithm of the fraction of spectra whose p_outlier is at least as high; null where that was "
    "not measured. A doubtful redshift lowers the anomaly score: the table redshifts lists it.",
)
PREDICTED_REDSHIFT_COLUMNS = (REDSHIFT_SOURCE, *MODEL_REDSHIFT_INTERVAL)
"""Columns of predictions that describe where their redshifts are from; null where the redshift was given."""
MEASURED_REDSHIFT_COLUMNS = (
    MODEL_REDSHIFT,
    *MODEL_REDSHIFT_INTERVAL,
    REDSHIFT_CLASS,
    OUTLIER_PROBABILITY,
)
"""Columns of ``objects``; null where the redshift was not measured."""
REDSHIFTS_SCHEMA = (
    OBJECT_ID,
    Column(
        "status",
        pa.string(),
        "",
        "archive or model: the redshift at which the spectrum is used; doubtful: used at the archive's, "
        "which p(z) contradicts; not used: it has neither a trusted redshift nor a confident one of the "
        "model.",
    ),
    REDSHIFT_SOURCE,
    Column("z_archive", _F64, "", "Redshift of the archive; null where it has none that is trusted."),
    *MEASURED_REDSHIFT_COLUMNS,
    Column(
        "z_model_probability",
        pa.float32(),
        "",
        "Probability by p(z) that the redshift is within 0.01 (1 + z) of z_model.",
    ),
    Column(
        "ln_probability_archive",
        pa.float32(),
        "",
        "Natural logarithm of the probability by p(z) that the redshift is within 0.01 (1 + z) of z_archive: "
        "it tells those whose p_outlier is rounded to 1.",
    ),
    Column(
        "ln_bayes_factor",
        pa.float32(),
        "",
        "Natural logarithm of the evidence at z_model over that of a smooth spectrum, up to a constant.",
    ),
    Column(
        "chi2_red",
        pa.float32(),
        "",
        "Chi-squared of the fit at z_model over its expectation, with an error floor of 5 % of the flux.",
    ),
    Column("pdf_z", pa.list_(pa.float32()), "", "Redshifts at which p(z) is given."),
    Column("pdf_probability", pa.list_(pa.float32()), "", "Their probabilities, with sum 1."),
    Column("reason", pa.string(), "", "Reason code if the redshift could not be measured."),
    Column("detail", pa.string(), "", "What was found in that case."),
)
