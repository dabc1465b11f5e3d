"""Ingest, apart from Ray: what a batch of files becomes. How it is committed: `distspec.ingest.commit`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from distspec.archives.base import Archive, SpectrumEntry
from distspec.archives.catalogs import make_absolute_url
from distspec.core.errors import TRANSIENT_REASONS, InvalidSpectrumError, QuarantineReason, QuarantineRecord
from distspec.core.spectrum import Floats, Spectrum, WavelengthGrid
from distspec.core.text import escape_unprintable
from distspec.io.remote.config import AccessConfig
from distspec.io.remote.files import open_archive_client, run_coroutine
from distspec.preprocessing.normalization import NormConfig
from distspec.preprocessing.resampling import GridConfig
from distspec.preprocessing.rest_frame import median_continuum_slope, preprocess
from distspec.store.columns import METADATA_COLUMNS
from distspec.store.sources import MATCH_RADIUS
from distspec.store.store import StoreConfig

N_PILOT_GROUPS, PILOT_GROUP_SIZE = 16, 16
"""Runs of neighbouring spectra, and spectra in each, read before a store is made."""
MIN_OUTAGE_FAILURES = 8
"""A batch of so many, none of which its server gave, is no bad batch but a server that is down."""


class LoadedBatch(NamedTuple):
    """What a batch of files became: flux and ivar, (n, L) each; their ledger; and reasons for the rest."""

    block: Any
    rows: pa.Table
    rejected: list[QuarantineRecord]
    n_bytes: int = 0
    """Read for it."""


def listing_to_entries(listing: pa.Table) -> list[SpectrumEntry]:
    """Return what reading needs of each row."""
    columns = [listing[name].to_pylist() for name in SpectrumEntry.__dataclass_fields__]
    return [SpectrumEntry(*row) for row in zip(*columns, strict=True)]


def select_pilot_sample(listing: pa.Table) -> pa.Table:
    """Return up to `N_PILOT_GROUPS` runs of neighbours spread evenly over a listing."""
    n = len(listing)
    if n <= N_PILOT_GROUPS * PILOT_GROUP_SIZE:
        return listing
    starts = np.linspace(0, n - PILOT_GROUP_SIZE, N_PILOT_GROUPS).round().astype(np.int64)
    rows = np.unique(starts[:, None] + np.arange(PILOT_GROUP_SIZE))
    return listing.take(pa.array(rows))


def read_archive_spectra(
    archive: Archive, access: AccessConfig, entries: Sequence[SpectrumEntry], require_position: bool = True
) -> list[Spectrum | InvalidSpectrumError]:
    """Read spectra, many files at a time: each one as it is, or why it cannot be.

    `require_position`: one that cannot be given to a source, for want of its position, is bad.
    """
    return run_coroutine(_read_entries(archive, access, entries, require_position))[0]


async def _read_entries(
    archive: Archive, access: AccessConfig, entries: Sequence[SpectrumEntry], require_position: bool
) -> tuple[list[Spectrum | InvalidSpectrumError], int]:
    async with open_archive_client(make_absolute_url(archive.url), access) as files:

        async def read_file(
            url: str, group: Sequence[SpectrumEntry]
        ) -> list[Spectrum | InvalidSpectrumError]:
            try:
                file = files.get_file(url)
            except InvalidSpectrumError as error:
                return [error] * len(group)
            return [await _read_entry(archive, entry, file, require_position) for entry in group]

        groups = [(url, list(group)) for url, group in groupby(entries, key=lambda entry: entry.file_url)]
        parts = await asyncio.gather(*(read_file(url, group) for url, group in groups))
        n_bytes = files.n_bytes_read
    return [outcome for part in parts for outcome in part], n_bytes


async def _read_entry(
    archive: Archive, entry: SpectrumEntry, file: Any, require_position: bool
) -> Spectrum | InvalidSpectrumError:
    try:
        spectrum = await archive.read(entry, file)
        if require_position:
            check_position(entry, spectrum)
    except InvalidSpectrumError as error:
        return error
    except Exception as error:  # a damaged file breaks a parser in ways that nobody foresaw
        return InvalidSpectrumError(QuarantineReason.UNREADABLE, f"{type(error).__name__}: {error}")
    return spectrum


def check_position(entry: SpectrumEntry, spectrum: Spectrum) -> None:
    """Refuse a spectrum that cannot be given to a source.

    Raises
    ------
    BadSpectrumError
        ``bad_position``.
    """
    ra, dec = (entry.ra, entry.dec) if np.isfinite(entry.ra) else (spectrum.ra, spectrum.dec)
    if not (np.isfinite(ra) and abs(dec) <= 90.0):
        raise InvalidSpectrumError(QuarantineReason.BAD_POSITION, f"RA {ra}, Dec {dec} deg")


def load_batch(
    archive: Archive,
    access: AccessConfig,
    listing: pa.Table,
    grid: WavelengthGrid,
    norm: NormConfig,
    default_slope: float,
) -> LoadedBatch:
    """Read and preprocess some rows of a listing: each ends as one row of the store or one rejection."""
    batch = listing_to_entries(listing)
    outcomes, n_bytes = run_coroutine(_read_entries(archive, access, batch, require_position=True))
    good = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, Spectrum)]
    spectra = [outcome for outcome in outcomes if isinstance(outcome, Spectrum)]
    rejected = [
        _make_rejected(entry, outcome)
        for entry, outcome in zip(batch, outcomes, strict=True)
        if isinstance(outcome, InvalidSpectrumError)
    ]
    result, failures = preprocess(spectra, grid, norm, default_slope)
    rejected += [_make_rejected(batch[good[index]], error) for index, error in failures]
    failed = {index for index, _ in failures}
    listed = listing.take(pa.array([i for k, i in enumerate(good) if k not in failed], pa.int64()))
    here = np.isfinite(listed["ra"].to_numpy())
    own: dict[str, Any] = {
        "ra": np.where(here, listed["ra"].to_numpy(), result.ra),
        "dec": np.where(here, listed["dec"].to_numpy(), result.dec),
    }
    own |= {
        name: getattr(result, name) for name in METADATA_COLUMNS if hasattr(result, name) and name not in own
    }
    known = [name for name in (*METADATA_COLUMNS, "source_key") if name not in {"source_id", "batch"}]
    rows = pa.table({name: own[name] if name in own else listed[name] for name in known})
    return LoadedBatch((result.flux, result.ivar), rows, rejected, n_bytes)


def _make_rejected(entry: SpectrumEntry, error: InvalidSpectrumError) -> QuarantineRecord:
    uri, seen = escape_unprintable(entry.uri), escape_unprintable(error.detail)
    return QuarantineRecord(entry.object_id, entry.version, uri, error.reason, seen)


def is_outage(batch: LoadedBatch) -> bool:
    """Tell whether a batch failed because its server is down or refuses everything."""
    lost = [row for row in batch.rejected if row.reason in TRANSIENT_REASONS]
    return len(lost) >= MIN_OUTAGE_FAILURES and not len(batch.rows) and len(lost) == len(batch.rejected)


def preprocessing_to_json(grid: GridConfig, norm: NormConfig) -> dict[str, Any]:
    """Return the preprocessing settings as JSON keeps them."""
    return json.loads(json.dumps({"grid": asdict(grid), "norm": asdict(norm)}))


def make_store_config(
    spectra: Sequence[Spectrum],
    z: Floats,
    grid: GridConfig,
    norm: NormConfig,
    join_radius: float = MATCH_RADIUS,
    archive_name: str = "",
) -> StoreConfig:
    """Return what a new store keeps for ever, from its pilot sample and that sample's redshifts, (N,)."""
    slope = median_continuum_slope(spectra, norm)
    return StoreConfig(
        grid.resolve(z),
        norm.reference_wave,
        slope,
        preprocessing_to_json(grid, norm),
        join_radius,
        archive_name,
    )


def check_store_config(
    store_config: StoreConfig, grid: GridConfig, norm: NormConfig, join_radius: float, archive_name: str
) -> None:
    """Refuse settings that a store was not made with: its rows would not be comparable.

    Raises
    ------
    ValueError
        Names each setting, what it is in the store and what was asked for.
    """
    asked = preprocessing_to_json(grid, norm)
    differ = [
        f"{part}.{name} is {value}, not {asked[part].get(name)}"
        for part, kept in store_config.preprocessing.items()
        for name, value in kept.items()
        if value != asked[part].get(name)
    ]
    if store_config.join_radius != join_radius:
        differ.append(f"ingest.join_radius is {store_config.join_radius}, not {join_radius}")
    differ += (
        [f"archive is {store_config.archive_name}, not {archive_name}"]
        if store_config.archive_name != archive_name
        else []
    )
    if differ:
        raise ValueError(f"this store's {'; '.join(differ)}: use another --root, or the same settings")
