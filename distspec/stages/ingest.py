"""Ingest on Ray: tasks read and preprocess spectra and write whole chunks; the driver commits in order."""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import icechunk
import numpy as np
import pyarrow as pa
import ray
from ray.exceptions import RayTaskError

from distspec.core import memory
from distspec.core.errors import ArchiveError, StorageError
from distspec.core.spectrum import Floats32
from distspec.ingest.commit import ChunkPieces, Committer, concatenate_slices
from distspec.ingest.diff import ListingDiff, check_withdrawn_fraction, compare_listing, count_rows
from distspec.ingest.proposals import complete_from_store, describe_proposals, propose_settings
from distspec.ingest.read import is_outage
from distspec.ingest.source import ArchiveSource
from distspec.ingest.store_config import check_store_config, make_store_config, select_pilot_sample
from distspec.io.lease import Lease
from distspec.io.paths import store_url
from distspec.io.storage import is_disk_full
from distspec.redshifts.measured import read_current, read_measured
from distspec.redshifts.selection import use_measured_redshifts
from distspec.redshifts.stage_config import RedshiftStageConfig
from distspec.stages.load import iter_loaded_batches, read_pilot_sample
from distspec.stages.metrics import (
    BYTES_READ,
    QUARANTINE_FRACTION,
    SPECTRA_QUARANTINED,
    increment_counter,
    set_gauge,
)
from distspec.stages.pool import count_retries, get_result
from distspec.stages.progress import Progress
from distspec.stages.result import StageResult
from distspec.store.store import Store, create_store, open_store, store_exists
from distspec.store.transactions import CommitOrigin, Transaction, write_chunks_to_fork

log = logging.getLogger(__name__)
CHUNKS_PER_TASK = 4
"""Number of chunks that a task writes."""
MIN_REJECTED_TO_FAIL = 2
"""Smallest number of bad spectra that can fail a run: a single bad file may be all that is new."""


@ray.remote(num_cpus=1, memory=memory.WORKER_BYTES)
@count_retries
def write_chunks_task(
    fork: icechunk.ForkSession, n_total_rows: int, chunks: Sequence[ChunkPieces], *blocks: Any
) -> icechunk.ForkSession:
    """Write whole chunks into a fork, and return it; the block of a slice is its position in `blocks`."""
    for chunk in chunks:
        slices = [replace(piece, block=blocks[piece.block]) for piece in chunk.slices]
        fork = write_chunks_to_fork(fork, chunk.start, n_total_rows, *concatenate_slices(slices))
    return fork


class RayWriter:
    """A `distspec.ingest.commit.ChunkWriter` whose blocks are Ray objects and whose chunks tasks write."""

    def fetch_block(self, block: Any) -> tuple[Floats32, Floats32]:
        """Return flux and ivar of a block, each an ndarray of shape (n_rows, n_pixels).

        Parameters
        ----------
        block : ObjectRef
            Reference to flux and ivar.
        """
        return ray.get(block)

    def write_chunks(
        self, transaction: Transaction, chunks: Sequence[ChunkPieces], n_total_rows: int
    ) -> Sequence[icechunk.ForkSession]:
        """Write chunks by tasks of `CHUNKS_PER_TASK` chunks; see `distspec.ingest.commit.ChunkWriter`.

        Parameters
        ----------
        transaction : Transaction
            Commit in preparation.
        chunks : sequence of ChunkPieces
            Chunks to write.
        n_total_rows : int
            Number of rows in the store after the commit.
        """
        tasks: list[ray.ObjectRef[Any]] = []
        for first in range(0, len(chunks), CHUNKS_PER_TASK):
            group = chunks[first : first + CHUNKS_PER_TASK]
            blocks = list(dict.fromkeys(piece.block for chunk in group for piece in chunk.slices))
            # Ray resolves references among a task's arguments, but not inside of them.
            position = {block: i for i, block in enumerate(blocks)}
            numbered = [
                replace(chunk, slices=[replace(p, block=position[p.block]) for p in chunk.slices])
                for chunk in group
            ]
            tasks.append(
                write_chunks_task.remote(transaction.session.fork(), n_total_rows, numbered, *blocks)
            )
        return [get_result(task) for task in tasks]


def ingest(
    root: str,
    source: ArchiveSource,
    lease: Lease | None = None,
    retry_transient: bool = False,
    min_redshift_probability: float = RedshiftStageConfig.min_probability,
) -> StageResult:
    """Update the store of a root to the listing of an archive.

    Parameters
    ----------
    root : str
        Root of the store, which is created if it does not exist.
    source : ArchiveSource
        Archive and settings. Grid and normalization are fixed when the store is created; later ingests must
        request the same.
    lease : Lease, optional
        Lease of the root; it is checked before each commit.
    retry_transient : bool, optional
        Whether to read spectra again that are in quarantine for a transient reason.
    min_redshift_probability : float, optional
        Smallest probability of a measured redshift at which a spectrum is used, if the archive's
        ``redshifts`` are not those of the catalog.

    Returns
    -------
    StageResult
        Numbers of spectra listed, new, stored, quarantined, withdrawn, returned, in the store and with a
        position that contradicts the archive's source; ``catalog`` tells what became of the catalog's rows.

    Raises
    ------
    ArchiveError
        If the archive lists nothing or lacks too many spectra of the store, when nothing has been changed; if
        its server is down or too many spectra are bad, when all good spectra that were read have been
        committed.
    StoreError
        If the store was created with other settings.
    StorageError
        If the store cannot be written; earlier commits are kept.
    """
    url, archive, config = store_url(root), source.archive, source.config
    rows = archive.read_listing(source.access)
    measurement = read_current(root) if archive.redshifts != "catalog" else None
    if measurement is not None:
        name = measurement.measurement_id
        rows = use_measured_redshifts(
            rows, read_measured(root, name), name, archive, min_redshift_probability
        )
    listing, malformed, counts = rows.spectra, rows.rejected, count_rows(rows.counts, rows.spectra)
    log.info("catalog: %s", counts)
    if not len(listing):
        remedy = archive.suggest_remedy(rows)
        raise ArchiveError(f"the archive lists no spectrum that the selection keeps ({counts}): {remedy}")
    del rows
    store = open_store(url) if store_exists(url) else None
    if store is not None:
        source = complete_from_store(source, store.config)
        check_store_config(store.config, source)
    diff = compare_listing(listing, store, retry_transient, malformed)
    if store is not None:
        check_withdrawn_fraction(len(diff.withdrawn_rows), len(store.current_rows()), config.max_withdrawn)
    if store is not None and diff.is_empty:
        result = {"listed": len(listing), "in_store": store.n_rows, "catalog": str(counts)}
        return StageResult(result, did_work=False)
    n_listed = len(listing)
    del listing
    pa.default_memory_pool().release_unused()  # the comparison needed as much memory as the listing itself
    with _translate_write_errors(url):
        if store is None:
            store, source = _create_from_pilot(url, source, diff.to_read)
        origin = CommitOrigin(archive.name, lease.token if lease else 0)
        committer = Committer(
            store,
            config.commit_rows,
            RayWriter(),
            origin,
            lease.check_held if lease else lambda: None,
            config.key_radius,
        )
        is_down = _load_and_commit(committer, source, diff)
    n_quarantined, n_in_store = len(committer.store.read_quarantine()), committer.store.n_rows
    set_gauge(QUARANTINE_FRACTION, n_quarantined / max(1, n_quarantined + n_in_store))
    if is_down:
        raise _outage_error(committer, source)
    if not retry_transient:  # files that are read again failed before
        _check_bad_fraction(committer, config.max_bad_share)
    return StageResult(
        {
            "listed": n_listed,
            "new": len(diff.to_read),
            "stored": committer.n_committed,
            "quarantined": committer.n_rejected,
            "withdrawn": len(diff.withdrawn_rows),
            "returned": len(diff.restored_rows),
            "in_store": n_in_store,
            "key_conflicts": committer.n_key_conflicts,
            "catalog": str(counts),
        }
    )


def _load_and_commit(committer: Committer, source: ArchiveSource, diff: ListingDiff) -> bool:
    """Load and commit all that is to be read; return whether that ended early because the server is down."""
    is_down = False
    with Progress("ingest", len(diff.to_read), "spectrum") as progress:
        for batch in iter_loaded_batches(source, committer.store.config, diff.to_read):
            is_down = is_outage(batch)
            if is_down:
                break
            committer.add(batch)
            progress.advance(len(batch.rows) + len(batch.rejected), f"{committer.n_rejected:,} quarantined")
            increment_counter(BYTES_READ, batch.n_bytes)
            for record in batch.rejected:
                increment_counter(SPECTRA_QUARANTINED, 1, reason=str(record.reason))
        committer.finish(diff)
    return is_down


def _outage_error(committer: Committer, source: ArchiveSource) -> ArchiveError:
    places = " or ".join(source.archive.base_urls)
    return ArchiveError(
        f"no file of a whole batch could be read: {places} seems to be down or to refuse access; "
        f"{committer.n_committed:,} spectra are in the store, run this again for the rest"
    )


def _check_bad_fraction(committer: Committer, max_bad_share: float) -> None:
    """Raise an `ArchiveError` if too many of the spectra that were read are bad."""
    n_bad = committer.n_rejected
    n_read = committer.n_committed + n_bad
    if n_bad >= MIN_REJECTED_TO_FAIL and n_bad > max_bad_share * n_read:
        raise ArchiveError(
            f"{n_bad:,} of {n_read:,} spectra are bad, more than ingest.max_bad_share "
            f"{max_bad_share:g} (the good ones are in the store): `distspec quarantine` lists the reasons"
        )


@contextmanager
def _translate_write_errors(url: str) -> Generator[None]:
    """Raise a `StorageError` for an error of Icechunk, in this process or in a task, such as a full disk."""
    try:
        yield
    except icechunk.IcechunkError as error:
        cause = error.cause if isinstance(error, RayTaskError) else error
        reason = str(cause).strip().partition("\n")[0].removeprefix("x ").strip()
        remedy = "free some space and run" if is_disk_full(error) else "run"
        raise StorageError(
            f"{url} could not be written ({reason}): earlier commits are kept; "
            f"{remedy} this again for the rest"
        ) from error


def _create_from_pilot(url: str, source: ArchiveSource, listing: pa.Table) -> tuple[Store, ArchiveSource]:
    """Create a store whose settings follow from a listing and a sample; return the source, too."""
    sample = select_pilot_sample(listing)
    spectra = read_pilot_sample(source, sample)
    if not spectra:
        first = sample["uri"][0].as_py() if len(sample) else "none"
        raise ArchiveError(
            f"none of the first {len(sample)} files could be read, the first being {first}: "
            "check --archive.url"
        )
    requested, source = source, propose_settings(spectra, source)
    if proposed := describe_proposals(requested, source):
        log.info("proposed from %d spectra, and fixed: %s", len(spectra), " ".join(proposed))
    z = listing["z"].to_numpy()
    known_z = z[np.isfinite(z)] if np.isfinite(z).any() else np.array([s.z for s in spectra])
    store_config = make_store_config(spectra, known_z, source)
    grid = store_config.grid
    log.info(
        "new store: %d pixels, %.0f–%.0f Å, median UV slope %.2f",
        grid.n_pixels,
        grid.start,
        grid.stop,
        store_config.default_slope,
    )
    return create_store(url, store_config), source
