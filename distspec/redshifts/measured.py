"""Measured redshifts of the spectra of a root: one row for each version of a spectrum, in Parquet files.

Layout below a root::

    redshifts/<measurement>/part-00000.parquet   rows in the order in which they were measured
    redshifts/current.json                       which measurement is used, written when it is complete

A measurement is identified by the model and the settings of the estimator, so that another model's redshifts
never mix with it. Files are only ever added: a job that is killed loses what it has not written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from distspec.core.arrow import pc
from distspec.core.errors import InvalidSpectrumError
from distspec.core.records import JsonRecord, compute_fingerprint, encode_value
from distspec.core.spectrum import Floats
from distspec.core.text import escape_unprintable
from distspec.io.files import list_files, read_json, read_table, url_exists, write_json, write_table
from distspec.io.paths import join_url
from distspec.redshifts.config import WRONG_FRACTION, RedshiftConfig
from distspec.redshifts.posterior import SAME_REDSHIFT, RedshiftPosterior

MEASUREMENT_VERSION = 1
"""Version of the estimator and of `MEASURED_SCHEMA`; a change measures all redshifts anew."""
CURRENT_FILE = "current.json"
DEFAULT_CONFIG = RedshiftConfig()
PDF_STEP = 5e-4
"""Step in ln(1 + z) of the stored p(z)."""
MIN_PDF = 1e-4
"""Probability of a step below which the stored p(z) leaves it out."""
MIN_PROBABILITY = 1e-300
"""Lower limit of the probability of the archive's redshift whose logarithm is stored."""
MEASURED_SCHEMA = pa.schema(
    [
        ("object_id", pa.string()),
        ("version", pa.string()),
        ("z_archive", pa.float64()),
        ("z_model", pa.float64()),
        ("z_model_p16", pa.float64()),
        ("z_model_p84", pa.float64()),
        ("z_model_probability", pa.float64()),
        ("z_model_second", pa.float64()),
        ("z_model_delta_chi2", pa.float64()),
        ("ln_bayes_factor", pa.float64()),
        ("chi2_red", pa.float64()),
        ("z_class", pa.string()),
        ("p_outlier", pa.float64()),
        ("ln_probability_archive", pa.float64()),
        ("pdf_z", pa.list_(pa.float32())),
        ("pdf_probability", pa.list_(pa.float32())),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
"""``z_archive`` is NaN where the archive has no redshift that is trusted, and all of the model's values where
there is none, for the reason in ``reason`` and ``detail``, which are empty otherwise."""
SCALAR_COLUMNS = [name for name in MEASURED_SCHEMA.names if not name.startswith("pdf_")]


@dataclass(frozen=True)
class MeasurementRecord(JsonRecord):
    """Content of ``redshifts/current.json``: the measurement whose redshifts are used.

    Attributes
    ----------
    measurement_id : str
        Its name.
    model_id : str
        Model with which the redshifts were measured.
    estimator : mapping
        Settings of the estimator, `RedshiftConfig`, and the fraction of wrong redshifts.
    n_parts : int
        Number of files that it had when it was completed.
    version : int
        `MEASUREMENT_VERSION` of the code that measured.
    """

    record_name: ClassVar[str] = f"redshifts/{CURRENT_FILE}"
    measurement_id: str
    model_id: str
    estimator: Mapping[str, Any]
    n_parts: int
    version: int = MEASUREMENT_VERSION


def make_record(
    root: str, model_id: str, config: RedshiftConfig, wrong_fraction: float = WRONG_FRACTION
) -> MeasurementRecord:
    """Return the record of a measurement as it is now.

    Parameters
    ----------
    root : str
        Root of the project.
    model_id : str
        Model with which the redshifts are measured.
    config : RedshiftConfig
        Settings of the estimator.
    wrong_fraction : float
        Fraction of the archive's redshifts that is wrong.

    Returns
    -------
    MeasurementRecord
    """
    settings = {**encode_value(asdict(config)), "wrong_fraction": wrong_fraction}
    name = compute_fingerprint(MEASUREMENT_VERSION, model_id, settings)
    return MeasurementRecord(name, model_id, settings, len(_list_parts(root, name)))


def read_current(root: str) -> MeasurementRecord | None:
    """Return the measurement whose redshifts are used; None if there is none of this version of distspec.

    Parameters
    ----------
    root : str
        Root of the project.

    Returns
    -------
    MeasurementRecord or None
    """
    url = join_url(root, "redshifts", CURRENT_FILE)
    record = MeasurementRecord.from_json(read_json(url)) if url_exists(url) else None
    return record if record and record.version == MEASUREMENT_VERSION else None


def write_current(root: str, record: MeasurementRecord) -> None:
    """Use the redshifts of a measurement.

    Parameters
    ----------
    root : str
        Root of the project.
    record : MeasurementRecord
        The measurement.
    """
    write_json(join_url(root, "redshifts", CURRENT_FILE), record.to_json())


def append_measured(root: str, measurement_id: str, table: pa.Table) -> None:
    """Write one more file of a measurement.

    Parameters
    ----------
    root : str
        Root of the project.
    measurement_id : str
        Name of the measurement.
    table : Table
        Rows with `MEASURED_SCHEMA`.
    """
    name = f"part-{len(_list_parts(root, measurement_id)):05d}.parquet"
    write_table(join_url(root, "redshifts", measurement_id, name), table)


def read_measured(root: str, measurement_id: str, columns: Sequence[str] = SCALAR_COLUMNS) -> pa.Table:
    """Return the rows of a measurement, oldest first.

    Parameters
    ----------
    root : str
        Root of the project.
    measurement_id : str
        Name of the measurement.
    columns : sequence of str
        Columns of `MEASURED_SCHEMA`; by default all but p(z).

    Returns
    -------
    Table
    """
    url = join_url(root, "redshifts", measurement_id)
    parts = [read_table(join_url(url, name)).select(columns) for name in _list_parts(root, measurement_id)]
    empty = pa.schema([MEASURED_SCHEMA.field(name) for name in columns]).empty_table()
    return pa.concat_tables([empty, *parts])


def build_keys(table: pa.Table) -> Any:
    """Return a text for each version of a spectrum, by which tables are joined.

    Parameters
    ----------
    table : Table
        Columns ``object_id`` and ``version``.

    Returns
    -------
    ChunkedArray of str
    """
    joined: Any = pc
    return joined.binary_join_element_wise(table["object_id"], table["version"], "\0")


def compute_outlier_probability(
    posterior: RedshiftPosterior, z_archive: float, config: RedshiftConfig, wrong_fraction: float
) -> float:
    """Compute the probability that a redshift of the archive is wrong.

    Before the spectrum is looked at, it is wrong with a probability of `wrong_fraction`; a wrong one says
    nothing about the right one. p(z), for which all ln(1 + z) were equally probable, gives how much more
    probable the spectrum is within 0.01 (1 + z) of the archive's redshift, and elsewhere, than on average;
    with a probability of ``posterior.p_excluded`` it says nothing.

    Parameters
    ----------
    posterior : RedshiftPosterior
        The posterior.
    z_archive : float
        Redshift of the archive; NaN for none.
    config : RedshiftConfig
        Limits of the redshifts.
    wrong_fraction : float
        Fraction of the archive's redshifts that is wrong.

    Returns
    -------
    float
        NaN if ``z_archive`` is not finite.
    """
    near = posterior.probability_near(z_archive)
    width = np.log((1.0 + SAME_REDSHIFT) / (1.0 - SAME_REDSHIFT))
    prior = width / np.log((1.0 + config.z_max) / (1.0 + config.z_min))
    if prior >= 1.0:  # all redshifts are the same within the tolerance
        return 0.0 if np.isfinite(near) else float("nan")
    there, elsewhere = (
        (1.0 - posterior.p_excluded) * ratio + posterior.p_excluded
        for ratio in (near / prior, (1.0 - near) / (1.0 - prior))
    )
    wrong = wrong_fraction * elsewhere
    return float(wrong / (wrong + (1.0 - wrong_fraction) * there))


def tabulate_posterior(
    posterior: RedshiftPosterior,
    z_archive: float,
    config: RedshiftConfig = DEFAULT_CONFIG,
    wrong_fraction: float = WRONG_FRACTION,
) -> dict[str, Any]:
    """Return the columns of a measured redshift.

    Parameters
    ----------
    posterior : RedshiftPosterior
        The posterior.
    z_archive : float
        Redshift of the archive; NaN for none.
    config : RedshiftConfig
        Limits of the redshifts.
    wrong_fraction : float
        Fraction of the archive's redshifts that is wrong.

    Returns
    -------
    dict of str to object
        Values by names of `MEASURED_SCHEMA`.
    """
    z, probability = compress(posterior)
    of_archive = posterior.probability_near(z_archive)
    return {
        "z_model": posterior.z_best,
        "z_model_p16": posterior.quantile(0.16),
        "z_model_p84": posterior.quantile(0.84),
        "z_model_probability": 1.0 - posterior.outlier_probability(posterior.z_best),
        "z_model_second": posterior.z_second,
        "z_model_delta_chi2": posterior.delta_chi2_second,
        "p_outlier": compute_outlier_probability(posterior, z_archive, config, wrong_fraction),
        "ln_probability_archive": np.log(np.maximum(of_archive, MIN_PROBABILITY)),
        "pdf_z": z,
        "pdf_probability": probability,
        "reason": "",
        "detail": "",
    }


def tabulate_error(error: InvalidSpectrumError) -> dict[str, Any]:
    """Return the columns of a spectrum whose redshift cannot be measured.

    Parameters
    ----------
    error : InvalidSpectrumError
        Why.

    Returns
    -------
    dict of str to object
        Values by names of `MEASURED_SCHEMA`.
    """
    unknown: dict[str, Any] = {
        field.name: np.nan for field in MEASURED_SCHEMA if pa.types.is_floating(field.type)
    }
    del unknown["z_archive"]
    text = {"z_class": "", "reason": str(error.reason), "detail": escape_unprintable(error.detail)}
    return {**unknown, "pdf_z": [], "pdf_probability": [], **text}


def compress(posterior: RedshiftPosterior) -> tuple[Floats, Floats]:
    """Return p(z) on steps of `PDF_STEP` in ln(1 + z), without steps of negligible probability.

    Parameters
    ----------
    posterior : RedshiftPosterior
        The posterior.

    Returns
    -------
    z, probability : ndarray of shape (n_steps,)
        Redshifts and their probabilities, with sum 1.
    """
    steps, position = np.unique(
        np.round(np.log1p(posterior.z) / PDF_STEP).astype(np.int64), return_inverse=True
    )
    probability = np.bincount(position, posterior.probability)
    is_kept = probability >= min(MIN_PDF, probability.max())
    kept = probability[is_kept]
    return np.expm1(PDF_STEP * steps[is_kept]), kept / kept.sum()


def _list_parts(root: str, measurement_id: str) -> list[str]:
    return list_files(join_url(root, "redshifts", measurement_id))
