"""Redshifts of new spectra: those that are given, and the others measured with a model.

Importing this module does not import torch.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from distspec.core.errors import ConfigError, InvalidSpectrumError, QuarantineRecord
from distspec.core.spectrum import Spectrum
from distspec.redshifts.config import RedshiftConfig

if TYPE_CHECKING:
    from distspec.models.model import Model
    from distspec.redshifts import RedshiftEstimator, RedshiftPosterior

log = logging.getLogger(__name__)
MIN_REDSHIFT_SPREAD = 0.01
"""Standard deviation of ln(1 + z) of a model's spectra below which they are at one redshift, as stars are,
and the model measures none."""


@dataclass(frozen=True)
class SpectraWithRedshifts:
    """Spectra that have a redshift, given or measured.

    Attributes
    ----------
    spectra : list of Spectrum
        The spectra.
    posteriors : list of RedshiftPosterior or None
        What was measured of each; None if its redshift was given.
    rejected : list of QuarantineRecord
        The spectra whose redshift cannot be measured.
    """

    spectra: list[Spectrum]
    posteriors: list[RedshiftPosterior | None]
    rejected: list[QuarantineRecord]


def open_redshift_estimator(model: Model, spread: float, config: RedshiftConfig | None) -> RedshiftEstimator:
    """Return the estimator of a model that knows several redshifts, which takes some ten seconds.

    Parameters
    ----------
    model : Model
        The model.
    spread : float
        Standard deviation of ln(1 + z) of the spectra that it describes; NaN if it is unknown.
    config : RedshiftConfig, optional
        Settings of the estimator.

    Returns
    -------
    RedshiftEstimator

    Raises
    ------
    ConfigError
        If the spread is below `MIN_REDSHIFT_SPREAD` or unknown.
    """
    if not spread >= MIN_REDSHIFT_SPREAD:
        why = "was trained without redshifts" if math.isnan(spread) else "knows spectra at one redshift only"
        raise ConfigError(
            f"some spectra have no redshift, and model {model.model_id} cannot measure it, because it {why}: "
            "give redshifts with --z (--z 0 for stars), or a table of them with --redshifts"
        )
    from distspec.redshifts import RedshiftEstimator

    return RedshiftEstimator.from_model(model, config)


def measure_missing_redshifts(
    spectra: Sequence[Spectrum], open_estimator: Callable[[], RedshiftEstimator]
) -> SpectraWithRedshifts:
    """Measure the redshifts of the spectra that have none.

    Parameters
    ----------
    spectra : sequence of Spectrum
        Observed spectra; a redshift that is not finite is measured.
    open_estimator : callable
        Returns the estimator; is called if a redshift is missing.

    Returns
    -------
    SpectraWithRedshifts
        In the order of the input.
    """
    missing = [i for i, spectrum in enumerate(spectra) if not math.isfinite(spectrum.z)]
    if not missing:
        return SpectraWithRedshifts(list(spectra), [None] * len(spectra), [])
    log.info("measuring the redshifts of %d spectra, which may take minutes", len(missing))
    found = open_estimator().estimate([replace(spectra[i], z=math.nan) for i in missing])
    measured = {missing[k]: posterior for k, posterior in zip(found.index, found.posteriors, strict=True)}
    errors = {missing[k]: error for k, error in found.rejected}
    usable = [i for i in range(len(spectra)) if i not in errors]
    return SpectraWithRedshifts(
        [replace(spectra[i], z=measured[i].z_best) if i in measured else spectra[i] for i in usable],
        [measured.get(i) for i in usable],
        [
            QuarantineRecord(spectra[i].object_id, "", "", error.reason, error.detail)
            for i, error in errors.items()
        ],
    )


def build_failure_records(
    spectra: Sequence[Spectrum],
    posteriors: Sequence[RedshiftPosterior | None],
    failures: Sequence[tuple[int, InvalidSpectrumError]],
) -> list[QuarantineRecord]:
    """Return the records of spectra that cannot be used at their redshifts, with those that were measured.

    Parameters
    ----------
    spectra : sequence of Spectrum
        All spectra.
    posteriors : sequence of RedshiftPosterior or None
        What was measured of each spectrum, None where the redshift was given; empty: all were given.
    failures : sequence of (int, InvalidSpectrumError)
        Position and reason of the spectra that cannot be used.

    Returns
    -------
    list of QuarantineRecord
    """
    records: list[QuarantineRecord] = []
    for i, error in failures:
        measured = f", at the measured redshift {spectra[i].z:.4f}" if posteriors and posteriors[i] else ""
        records.append(QuarantineRecord(spectra[i].object_id, "", "", error.reason, error.detail + measured))
    return records


def build_redshift_columns(posteriors: Sequence[RedshiftPosterior | None]) -> dict[str, list[Any]]:
    """Return the columns that describe where the redshifts of predictions are from.

    Parameters
    ----------
    posteriors : sequence of RedshiftPosterior or None
        What was measured of each spectrum; None if its redshift was given.

    Returns
    -------
    dict of str to list
        Values of `distspec.core.schema.PREDICTED_REDSHIFT_COLUMNS` by name.
    """

    def measured(get: Callable[[RedshiftPosterior], float]) -> list[float | None]:
        values = [math.nan if posterior is None else get(posterior) for posterior in posteriors]
        return [value if math.isfinite(value) else None for value in values]

    return {
        "z_source": ["archive" if posterior is None else "model" for posterior in posteriors],
        "z_model_p16": measured(lambda posterior: posterior.quantile(0.16)),
        "z_model_p84": measured(lambda posterior: posterior.quantile(0.84)),
        "z_model_second": measured(lambda posterior: posterior.z_second),
        "z_model_delta_chi2": measured(lambda posterior: posterior.delta_chi2_second),
    }
