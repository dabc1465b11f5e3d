"""Reading and preprocessing of batches of a listing, without Ray."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa

from distspec.archives.base import Archive, SpectrumEntry
from distspec.archives.catalogs import make_absolute_url
from distspec.core.errors import TRANSIENT_REASONS, InvalidSpectrumError, QuarantineReason, QuarantineRecord
from distspec.core.spectrum import Spectrum, SpectrumBatch, WavelengthGrid
from distspec.core.text import escape_unprintable
from distspec.io.remote.config import AccessConfig
from distspec.io.remote.files import ArchiveFile, open_archive_client, run_coroutine
from distspec.io.storage import is_disk_full
from distspec.preprocessing.normalization import NormConfig
from distspec.preprocessing.rest_frame import preprocess
from distspec.store.columns import METADATA_COLUMNS, OBSERVATION_GROUP, REDSHIFT_SOURCE

MIN_OUTAGE_FAILURES = 8
"""Smallest batch without any readable file that is attributed to an outage of the server."""


@dataclass(frozen=True)
class LoadedBatch:
    """Result of reading and preprocessing a batch of a listing.

    Parameters
    ----------
    block : object
        Flux and ivar, each an ndarray of shape (n_rows, n_pixels), or a reference to this pair.
    rows : pyarrow.Table
        Ledger columns that are known before the commit, one row for each good spectrum.
    rejected : list of QuarantineRecord
        The other spectra of the batch.
    n_bytes : int, optional
        Number of bytes that were read from the archive.
    """

    block: Any
    rows: pa.Table
    rejected: list[QuarantineRecord]
    n_bytes: int = 0


def listing_to_entries(listing: pa.Table) -> list[SpectrumEntry]:
    """Return the part of each row of a listing that reading needs.

    Parameters
    ----------
    listing : pyarrow.Table
        Rows of a listing.

    Returns
    -------
    list of SpectrumEntry
    """
    columns = [listing[name].to_pylist() for name in SpectrumEntry.__dataclass_fields__]
    return [SpectrumEntry(*row) for row in zip(*columns, strict=True)]


def read_archive_spectra(
    archive: Archive, access: AccessConfig, entries: Sequence[SpectrumEntry], require_position: bool = True
) -> list[Spectrum | InvalidSpectrumError]:
    """Read spectra, many files at a time.

    Parameters
    ----------
    archive : Archive
        Archive that reads its files.
    access : AccessConfig
        Credentials, limits and timeouts.
    entries : sequence of SpectrumEntry
        Spectra to read.
    require_position : bool, optional
        Whether a spectrum without a position, which cannot be assigned to a source, is invalid.

    Returns
    -------
    list of Spectrum or InvalidSpectrumError
        For each entry the spectrum, or the error for which it cannot be used.
    """
    return run_coroutine(_read_entries(archive, access, entries, require_position))[0]


async def _read_entries(
    archive: Archive, access: AccessConfig, entries: Sequence[SpectrumEntry], require_position: bool
) -> tuple[list[Spectrum | InvalidSpectrumError], int]:
    """Return the outcome of each entry, and the number of bytes read."""
    async with open_archive_client([make_absolute_url(url) for url in archive.base_urls], access) as client:

        async def read_file(
            url: str, group: Sequence[SpectrumEntry]
        ) -> list[Spectrum | InvalidSpectrumError]:
            try:
                file = client.get_file(url)
            except InvalidSpectrumError as error:
                return [error] * len(group)
            return [await _read_entry(archive, entry, file, require_position) for entry in group]

        groups = [(url, list(group)) for url, group in groupby(entries, key=lambda entry: entry.file_url)]
        parts = await asyncio.gather(*(read_file(url, group) for url, group in groups))
        n_bytes = client.n_bytes_read
    return [outcome for part in parts for outcome in part], n_bytes


async def _read_entry(
    archive: Archive, entry: SpectrumEntry, file: ArchiveFile, require_position: bool
) -> Spectrum | InvalidSpectrumError:
    """Return a spectrum, or the error for which it cannot be used; a full disk ends the task, but no file."""
    try:
        spectrum = await archive.read(entry, file)
        if require_position:
            check_position(entry, spectrum)
    except InvalidSpectrumError as error:
        return error
    except Exception as error:  # a damaged file can make a parser fail with any type of error
        if is_disk_full(error):
            raise
        return InvalidSpectrumError(QuarantineReason.UNREADABLE, f"{type(error).__name__}: {error}")
    return spectrum


def check_position(entry: SpectrumEntry, spectrum: Spectrum) -> None:
    """Check that a spectrum has a position, in the listing or in its file.

    Parameters
    ----------
    entry : SpectrumEntry
        Row of the listing.
    spectrum : Spectrum
        Spectrum that was read.

    Raises
    ------
    InvalidSpectrumError
        With reason ``bad_position``.
    """
    ra, dec = (entry.ra, entry.dec) if np.isfinite(entry.ra) else (spectrum.ra, spectrum.dec)
    if not (-180.0 <= ra <= 360.0 and abs(dec) <= 90.0):
        raise InvalidSpectrumError(QuarantineReason.BAD_POSITION, f"RA {ra}, Dec {dec} deg")


def load_batch(
    archive: Archive,
    access: AccessConfig,
    listing: pa.Table,
    grid: WavelengthGrid,
    norm: NormConfig,
    default_slope: float,
) -> LoadedBatch:
    """Read and preprocess a batch of a listing.

    Parameters
    ----------
    archive : Archive
        Archive that reads its files.
    access : AccessConfig
        Credentials, limits and timeouts.
    listing : pyarrow.Table
        Rows of a listing, with `distspec.archives.base.LISTING_SCHEMA`.
    grid : WavelengthGrid
        Rest-frame grid of the store.
    norm : NormConfig
        Normalization.
    default_slope : float
        Continuum slope for spectra whose own slope cannot be fitted.

    Returns
    -------
    LoadedBatch
        Each row of the listing appears either in its rows or among the rejected.
    """
    entries = listing_to_entries(listing)
    outcomes, n_bytes = run_coroutine(_read_entries(archive, access, entries, archive.requires_position))
    good = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, Spectrum)]
    spectra = [outcome for outcome in outcomes if isinstance(outcome, Spectrum)]
    rejected = [
        _make_rejected(entry, outcome)
        for entry, outcome in zip(entries, outcomes, strict=True)
        if isinstance(outcome, InvalidSpectrumError)
    ]
    batch, failures = preprocess(spectra, grid, norm, default_slope)
    rejected += [_make_rejected(entries[good[index]], error) for index, error in failures]
    failed = {index for index, _ in failures}
    listed = listing.take(pa.array([i for k, i in enumerate(good) if k not in failed], pa.int64()))
    rows = _build_ledger_rows(listed, batch)
    kept = [spectrum for k, spectrum in enumerate(spectra) if k not in failed]
    for column in archive.observation_columns:
        values = [spectrum.observation.get(column.name, "") for spectrum in kept]
        rows = rows.append_column(f"{OBSERVATION_GROUP}/{column.name}", pa.array(values, pa.string()))
    if "z_source" in listed.column_names:
        rows = rows.append_column(f"{OBSERVATION_GROUP}/{REDSHIFT_SOURCE}", listed["z_source"])
    return LoadedBatch((batch.flux, batch.ivar), rows, rejected, n_bytes)


def _build_ledger_rows(listed: pa.Table, batch: SpectrumBatch) -> pa.Table:
    """Return the ledger columns of a batch; positions in the listing have precedence over the files'.

    Right ascensions from -180° to 0° become 180° to 360°.
    """
    has_position = np.isfinite(listed["ra"].to_numpy())
    ra = np.where(has_position, listed["ra"].to_numpy(), batch.ra)
    computed: dict[str, Any] = {
        "ra": np.where(ra < 0.0, ra + 360.0, ra),
        "dec": np.where(has_position, listed["dec"].to_numpy(), batch.dec),
    }
    computed |= {
        name: getattr(batch, name)
        for name in METADATA_COLUMNS
        if hasattr(batch, name) and name not in computed
    }
    names = [name for name in (*METADATA_COLUMNS, "source_key") if name not in {"source_id", "ingest_commit"}]
    return pa.table({name: computed[name] if name in computed else listed[name] for name in names})


def _make_rejected(entry: SpectrumEntry, error: InvalidSpectrumError) -> QuarantineRecord:
    uri, detail = escape_unprintable(entry.uri), escape_unprintable(error.detail)
    return QuarantineRecord(entry.object_id, entry.version, uri, error.reason, detail)


def is_outage(batch: LoadedBatch) -> bool:
    """Return whether a batch failed because its server is down or refuses all requests.

    Parameters
    ----------
    batch : LoadedBatch
        Result of reading a batch.
    """
    n_transient = sum(record.reason in TRANSIENT_REASONS for record in batch.rejected)
    return n_transient >= MIN_OUTAGE_FAILURES and not len(batch.rows) and n_transient == len(batch.rejected)
