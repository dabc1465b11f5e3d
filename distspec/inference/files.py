"""Predictions for the spectra in files: the files are read before anything of a run or a model is loaded.

Torch, UMAP and the arrays of a run take half a minute to load, for which files that cannot be used should not
wait.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from distspec.archives.base import Archive, SpectrumEntry
from distspec.archives.external import iter_external_entries, read_redshifts
from distspec.archives.registry import get_archive
from distspec.core.errors import ConfigError, InvalidSpectrumError, QuarantineRecord
from distspec.core.spectrum import Spectrum
from distspec.inference.prediction import Prediction
from distspec.inference.redshifts import measure_missing_redshifts
from distspec.ingest.read import read_archive_spectra
from distspec.ingest.source import read_source
from distspec.io.remote.config import AccessConfig
from distspec.models.pretrained import find_pretrained_model
from distspec.models.record import read_model_record
from distspec.redshifts.config import RedshiftConfig

if TYPE_CHECKING:
    from distspec.inference.predict import ModelPredictor, Predictor

BATCH_SIZE = 1024
"""Number of spectra that are read and described at a time."""


def predict(
    root: str,
    files: str | Sequence[str],
    *,
    z: float | Sequence[float] = (),
    redshift_table: str = "",
    n_neighbors: int = 5,
    model: str = "",
    redshift_config: RedshiftConfig | None = None,
) -> Prediction:
    """Predict for the spectra in files with a project's published run, or with a model, without training.

    Redshifts that neither the caller nor a file gives are measured with the run's first model, or with the
    model (`distspec.RedshiftEstimator`).

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project; is not used if a model is given.
    files : str or sequence of str
        Paths or URLs, in the format of the archive that the project was last ingested from.
    z : float or sequence of float
        Redshifts, one for all files or one for each; empty: those in the files, or measured.
    redshift_table : str
        Table of redshifts with columns file and z, instead of `z`. Files with a malformed row or with several
        redshifts are in ``rejected`` of the result.
    n_neighbors : int
        Number of most similar spectra of the run to list for each.
    model : str
        Name or URL of a model (`distspec.models.model.load_model`) that describes the spectra instead of a
        run: see `ModelPredictor`. The files are in the format of the archive of its spectra.
    redshift_config : RedshiftConfig, optional
        Settings of the measurement of redshifts, such as their limits.

    Returns
    -------
    Prediction

    Raises
    ------
    ConfigError
        If the number of redshifts is neither one nor that of the files, or if redshifts are missing and the
        model knows one redshift only, as models of stars do.
    NotFoundError
        If nothing was ingested or published.
    """
    names = [files] if isinstance(files, str) else list(files)
    if model:
        record = read_model_record(find_pretrained_model(model))
        archive, access = get_archive(record.store_config.archive_name)(), AccessConfig()
    else:
        source = read_source(root)
        archive, access = source.archive, source.access
    redshifts = np.atleast_1d(np.asarray(z, np.float64))
    if len(redshifts) not in (0, 1, len(names)):
        raise ConfigError(
            f"{len(redshifts)} redshifts for {len(names)} files: give one for all, or one for each"
        )
    rejected: list[QuarantineRecord] = []
    if redshift_table:
        found = read_redshifts(names, redshift_table, access)
        for name, one in zip(names, found, strict=True):
            if isinstance(one, InvalidSpectrumError):
                rejected.append(QuarantineRecord(name.rpartition("/")[2], "", name, one.reason, one.detail))
        bad_names = {record.uri for record in rejected}
        names = [name for name in names if name not in bad_names]
        redshifts = np.array([one for one in found if not isinstance(one, InvalidSpectrumError)], np.float64)
    per_file = np.broadcast_to(redshifts if len(redshifts) else np.nan, len(names)).tolist()

    def open_predictor() -> Predictor | ModelPredictor:
        from distspec.inference.predict import ModelPredictor, Predictor

        return ModelPredictor.open(model) if model else Predictor.open(root)

    prediction = predict_files(open_predictor, archive, access, names, per_file, n_neighbors, redshift_config)
    return replace(prediction, rejected=[*rejected, *prediction.rejected])


def predict_files(
    open_predictor: Callable[[], Predictor | ModelPredictor],
    archive: Archive,
    access: AccessConfig,
    files: Sequence[str],
    z: Sequence[float],
    n_neighbors: int = 5,
    redshift_config: RedshiftConfig | None = None,
) -> Prediction:
    """Predict for the spectra in files.

    Parameters
    ----------
    open_predictor : callable
        Loads the run or the model to predict with; is called once, if a file could be read.
    archive : Archive
        Archive in whose format the files are.
    access : AccessConfig
        Credentials, limits and timeouts.
    files : sequence of str
        Paths or URLs.
    z : sequence of float
        Redshift of each file; NaN if the file contains it, or if it is to be measured.
    n_neighbors : int
        Number of most similar spectra of the run to list for each.
    redshift_config : RedshiftConfig, optional
        Settings of the measurement of redshifts.

    Returns
    -------
    Prediction
    """
    tables: list[pa.Table] = []
    rejected: list[QuarantineRecord] = []
    get_predictor = cache(open_predictor)
    get_estimator = cache(lambda: get_predictor().open_redshift_estimator(redshift_config))
    for reader, entries in iter_external_entries(archive, files, z, access):
        for first in range(0, len(entries), BATCH_SIZE):
            batch = entries[first : first + BATCH_SIZE]
            uri = {entry.object_id: entry.uri for entry in batch}
            spectra, unreadable = _read_spectra(reader, access, batch)
            rejected += unreadable
            if not spectra:
                continue
            measured = measure_missing_redshifts(spectra, get_estimator)
            prediction = get_predictor().predict(measured.spectra, n_neighbors, measured.posteriors)
            tables.append(prediction.table)
            unusable = (*measured.rejected, *prediction.rejected)
            rejected += [replace(record, uri=uri[record.object_id]) for record in unusable]
    return Prediction(pa.concat_tables(tables) if tables else pa.table({}), rejected)


def _read_spectra(
    archive: Archive, access: AccessConfig, entries: Sequence[SpectrumEntry]
) -> tuple[list[Spectrum], list[QuarantineRecord]]:
    """Read spectra; return those that can be used and the records of the others."""
    spectra: list[Spectrum] = []
    rejected: list[QuarantineRecord] = []
    outcomes = read_archive_spectra(archive, access, entries, require_position=False)
    for entry, outcome in zip(entries, outcomes, strict=True):
        if isinstance(outcome, InvalidSpectrumError):
            rejected.append(QuarantineRecord(entry.object_id, "", entry.uri, outcome.reason, outcome.detail))
        else:  # a redshift given by the user replaces that of the file
            spectra.append(replace(outcome, z=entry.z) if np.isfinite(entry.z) else outcome)
    return spectra, rejected
