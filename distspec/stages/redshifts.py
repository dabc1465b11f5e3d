"""The redshifts stage: actors read spectra and measure their redshifts, and the driver writes them in order.

Spectra are read from the archive in the observed frame, because the store has them at one redshift only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from distspec.archives.base import Archive
from distspec.core import memory
from distspec.core.arrow import pc
from distspec.core.errors import TRANSIENT_REASONS, ArchiveError, InvalidSpectrumError
from distspec.core.listing import Listing
from distspec.core.spectrum import Spectrum
from distspec.ingest.read import listing_to_entries, read_archive_spectra
from distspec.ingest.source import ArchiveSource
from distspec.io.paths import model_url
from distspec.io.remote.config import AccessConfig
from distspec.models.model import load_model
from distspec.redshifts.config import WRONG_FRACTION
from distspec.redshifts.estimate import RedshiftEstimator
from distspec.redshifts.measured import (
    MEASURED_SCHEMA,
    append_measured,
    build_keys,
    make_record,
    read_current,
    read_measured,
    tabulate_error,
    tabulate_posterior,
    write_current,
)
from distspec.redshifts.stage_config import RedshiftStageConfig
from distspec.stages.pool import ActorPool, count_retries, map_ordered
from distspec.stages.progress import Progress
from distspec.stages.result import StageResult
from distspec.stages.session import require_worker_slots

ROWS_PER_FILE = 8192
"""Number of measured spectra that are written together; a job that is killed loses at most these."""
MAX_RESTARTS = 100
"""Number of times that an actor that died is replaced."""
MAX_TASK_RETRIES = 3
"""Number of times that the batch of an actor that died is measured again."""


@ray.remote(
    num_cpus=1,
    memory=memory.REDSHIFT_WORKER_BYTES,
    max_restarts=MAX_RESTARTS,
    max_task_retries=MAX_TASK_RETRIES,
)
class RedshiftMeasurer:
    """Actor that holds an estimator, whose templates it projects once onto the pixels of the archive.

    Parameters
    ----------
    archive : Archive
        Archive that reads its files.
    access : AccessConfig
        Credentials, limits and timeouts.
    estimator : RedshiftEstimator
        The estimator, which needs no model any more.
    wrong_fraction : float
        Fraction of the archive's redshifts that is wrong.
    """

    def __init__(
        self, archive: Archive, access: AccessConfig, estimator: RedshiftEstimator, wrong_fraction: float
    ) -> None:
        self.archive, self.access = archive, access
        self.estimator, self.wrong_fraction = estimator, wrong_fraction

    @count_retries
    def measure(self, listing: pa.Table) -> pa.Table:
        """Read and measure the spectra of a listing: see `measure_listing`."""
        return measure_listing(self.archive, self.access, listing, self.estimator, self.wrong_fraction)


def measure_listing(
    archive: Archive,
    access: AccessConfig,
    listing: pa.Table,
    estimator: RedshiftEstimator,
    wrong_fraction: float = WRONG_FRACTION,
) -> pa.Table:
    """Read and measure the spectra of a listing.

    Parameters
    ----------
    archive : Archive
        Archive that reads its files.
    access : AccessConfig
        Credentials, limits and timeouts.
    listing : Table
        Rows of a listing; ``z`` is NaN where the archive has no redshift that is trusted.
    estimator : RedshiftEstimator
        The estimator.
    wrong_fraction : float
        Fraction of the archive's redshifts that is wrong.

    Returns
    -------
    Table
        `MEASURED_SCHEMA`, one row for each spectrum but those that could not be read for a transient reason.
    """
    outcomes = read_archive_spectra(archive, access, listing_to_entries(listing), require_position=False)
    failed = {i: outcome for i, outcome in enumerate(outcomes) if isinstance(outcome, InvalidSpectrumError)}
    position = [i for i in range(len(outcomes)) if i not in failed]
    spectra = [outcome for outcome in outcomes if isinstance(outcome, Spectrum)]
    estimates = estimator.estimate(spectra)
    failed |= {position[k]: error for k, error in estimates.rejected}
    rows = {i: tabulate_error(error) for i, error in failed.items() if error.reason not in TRANSIENT_REASONS}
    z_archive = np.array([spectrum.z for spectrum in spectra])
    for k, posterior, bayes_factor, chi2_red, z_class in zip(
        estimates.index,
        estimates.posteriors,
        estimates.ln_bayes_factor.tolist(),
        estimates.chi2_red.tolist(),
        estimates.z_class,
        strict=True,
    ):
        measured = tabulate_posterior(posterior, float(z_archive[k]), estimator.config, wrong_fraction)
        rows[position[k]] = measured | {
            "ln_bayes_factor": bayes_factor,
            "chi2_red": chi2_red,
            "z_class": z_class,
        }
    names, versions, z = (listing[name].to_pylist() for name in ("object_id", "version", "z"))
    return pa.Table.from_pylist(
        [{"object_id": names[i], "version": versions[i], "z_archive": z[i], **rows[i]} for i in sorted(rows)],
        MEASURED_SCHEMA,
    )


def measure_redshifts(
    root: str, source: ArchiveSource, model_id: str, config: RedshiftStageConfig
) -> StageResult:
    """Measure the redshifts of an archive's spectra that the model has not measured yet.

    Parameters
    ----------
    root : str
        Root of the model and of the measured redshifts.
    source : ArchiveSource
        Archive and its access.
    model_id : str
        Name of the model.
    config : RedshiftStageConfig
        Which spectra are measured, and how.

    Returns
    -------
    StageResult
        Numbers of spectra measured now and in all, and of those that could not be read now and will be
        tried again.

    Raises
    ------
    ArchiveError
        If no spectrum could be read.
    ConfigError
        If the model cannot measure redshifts.
    """
    wanted = select_wanted(source.archive.read_listing(source.access), source.archive, config.check)
    if not len(wanted):
        return StageResult({"measured": 0}, did_work=False)
    record = make_record(root, model_id, config.estimator, config.wrong_fraction)
    known = build_keys(read_measured(root, record.measurement_id, ["object_id", "version"]))
    missing = wanted.filter(pc.invert(pc.is_in(build_keys(wanted), value_set=known)))
    n_measured = 0
    for table in _group_tables(_iter_measured(model_url(root, model_id), source, missing, config)):
        append_measured(root, record.measurement_id, table)
        n_measured += len(table)
    if len(missing) and not n_measured:
        places = " or ".join(source.archive.base_urls)
        raise ArchiveError(
            f"none of {len(missing):,} spectra could be read to measure redshifts: {places} seems to be down "
            "or to refuse access; run this again"
        )
    current = make_record(root, model_id, config.estimator, config.wrong_fraction)
    if current != read_current(root):
        write_current(root, current)
        n_measured = max(n_measured, 1)
    summary = {
        "model": model_id,
        "measured": n_measured,
        "in_all": len(known) + n_measured,
        "unread": len(missing) - n_measured,
    }
    return StageResult(summary, did_work=bool(n_measured))


def select_wanted(listing: Listing, archive: Archive, check: bool) -> pa.Table:
    """Return the spectra of a listing whose redshifts are measured.

    Parameters
    ----------
    listing : Listing
        Listing of the archive.
    archive : Archive
        The archive; ``redshifts`` says where the model's are used.
    check : bool
        Whether spectra are measured whose redshifts the archive has.

    Returns
    -------
    Table
        With `distspec.archives.base.LISTING_SCHEMA`; ``z`` is NaN for candidates.
    """
    parts: list[pa.Table] = []
    if check or archive.redshifts == "model":
        parts.append(listing.spectra)
    if listing.candidates is not None and archive.redshifts != "catalog":
        parts.append(listing.candidates.drop_columns("deselected_as"))
    return pa.concat_tables(parts) if parts else listing.spectra.slice(0, 0)


def _iter_measured(
    model_location: str, source: ArchiveSource, listing: pa.Table, config: RedshiftStageConfig
) -> Iterator[pa.Table]:
    """Yield the measured redshifts of a listing, in its order."""
    if not len(listing):
        return
    size = config.task_spectra
    resources: Mapping[str, float] = {"CPU": 1.0, "memory": memory.REDSHIFT_WORKER_BYTES}

    def count_slots() -> int:
        return require_worker_slots("an actor that measures redshifts", resources, "raise redshifts.z_min")

    count_slots()
    estimator = ray.put(RedshiftEstimator.from_model(load_model(model_location), config.estimator))
    actor_class: Any = RedshiftMeasurer
    starts = range(0, len(listing), size)
    pool = ActorPool(
        lambda: actor_class.remote(source.archive, source.access, estimator, config.wrong_fraction),
        len(starts),
        count_slots,
    )
    turns = count()

    def submit(start: int) -> Any:
        actors = pool.wait_ready()
        rows = listing.take(pa.array(np.arange(start, min(start + size, len(listing)))))
        return actors[next(turns) % len(actors)].measure.remote(rows)

    with Progress("redshifts", len(listing), "spectrum") as progress:
        for start, table in zip(
            starts, map_ordered(submit, starts, lambda: 2 * len(pool.wait_ready())), strict=True
        ):
            progress.advance(min(size, len(listing) - start))
            yield table
    pool.shutdown()


def _group_tables(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Yield tables concatenated to at least `ROWS_PER_FILE` rows, and the rest at the end."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(map(len, waiting)) >= ROWS_PER_FILE:
            yield pa.concat_tables(waiting)
            waiting = []
    if any(map(len, waiting)):
        yield pa.concat_tables(waiting)
