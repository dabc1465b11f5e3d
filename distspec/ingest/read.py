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

from distspec.archives.base import Archive, Entry
from distspec.archives.catalogs import absolute
from distspec.core.errors import PASSING, BadSpectrumError, Reason, Rejected
from distspec.core.spectrum import Floats, Spectrum, WaveGrid
from distspec.core.text import printable
from distspec.io.remote.config import AccessConfig
from distspec.io.remote.files import open_files, run
from distspec.preprocessing.normalization import NormConfig
from distspec.preprocessing.resampling import GridConfig
from distspec.preprocessing.rest_frame import median_slope, preprocess
from distspec.store.columns import LEDGER
from distspec.store.sources import JOIN_RADIUS
from distspec.store.store import Frozen

PILOT_RUNS, PILOT_RUN = 16, 16
"""Runs of neighbouring spectra, and spectra in each, read before a store is made."""
OUTAGE = 8
"""A batch of so many, none of which its server gave, is no bad batch but a server that is down."""


class Loaded(NamedTuple):
    """What a batch of files became: flux and ivar, (n, L) each; their ledger; and reasons for the rest."""

    block: Any
    rows: pa.Table
    rejected: list[Rejected]
    n_bytes: int = 0
    """Read for it."""


def entries(listing: pa.Table) -> list[Entry]:
    """Return what reading needs of each row."""
    columns = [listing[name].to_pylist() for name in Entry.__dataclass_fields__]
    return [Entry(*row) for row in zip(*columns, strict=True)]


def pilot(listing: pa.Table) -> pa.Table:
    """Return up to `PILOT_RUNS` runs of neighbours spread evenly over a listing."""
    n = len(listing)
    if n <= PILOT_RUNS * PILOT_RUN:
        return listing
    starts = np.linspace(0, n - PILOT_RUN, PILOT_RUNS).round().astype(np.int64)
    rows = np.unique(starts[:, None] + np.arange(PILOT_RUN))
    return listing.take(pa.array(rows))


def read(
    archive: Archive, access: AccessConfig, batch: Sequence[Entry], positions: bool = True
) -> list[Spectrum | BadSpectrumError]:
    """Read spectra, many files at a time: each one as it is, or why it cannot be.

    `positions`: one that cannot be given to a source, for want of its position, is bad.
    """
    return run(_read(archive, access, batch, positions))[0]


async def _read(
    archive: Archive, access: AccessConfig, batch: Sequence[Entry], positions: bool
) -> tuple[list[Spectrum | BadSpectrumError], int]:
    async with open_files(absolute(archive.url), access) as files:

        async def read_file(url: str, group: Sequence[Entry]) -> list[Spectrum | BadSpectrumError]:
            try:
                file = files.file(url)
            except BadSpectrumError as error:
                return [error] * len(group)
            return [await _read_one(archive, entry, file, positions) for entry in group]

        groups = [(url, list(group)) for url, group in groupby(batch, key=lambda entry: entry.file)]
        parts = await asyncio.gather(*(read_file(url, group) for url, group in groups))
        n_bytes = files.n_bytes
    return [outcome for part in parts for outcome in part], n_bytes


async def _read_one(archive: Archive, entry: Entry, file: Any, position: bool) -> Spectrum | BadSpectrumError:
    try:
        spectrum = await archive.read(entry, file)
        if position:
            check_position(entry, spectrum)
    except BadSpectrumError as error:
        return error
    except Exception as error:  # a damaged file breaks a parser in ways that nobody foresaw
        return BadSpectrumError(Reason.UNREADABLE, f"{type(error).__name__}: {error}")
    return spectrum


def check_position(entry: Entry, spectrum: Spectrum) -> None:
    """Refuse a spectrum that cannot be given to a source.

    Raises
    ------
    BadSpectrumError
        ``bad_position``.
    """
    ra, dec = (entry.ra, entry.dec) if np.isfinite(entry.ra) else (spectrum.ra, spectrum.dec)
    if not (np.isfinite(ra) and abs(dec) <= 90.0):
        raise BadSpectrumError(Reason.BAD_POSITION, f"RA {ra}, Dec {dec} deg")


def load(
    archive: Archive,
    access: AccessConfig,
    listing: pa.Table,
    grid: WaveGrid,
    norm: NormConfig,
    sample_slope: float,
) -> Loaded:
    """Read and preprocess some rows of a listing: each ends as one row of the store or one rejection."""
    batch = entries(listing)
    outcomes, n_bytes = run(_read(archive, access, batch, positions=True))
    good = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, Spectrum)]
    spectra = [outcome for outcome in outcomes if isinstance(outcome, Spectrum)]
    rejected = [
        _rejected(entry, outcome)
        for entry, outcome in zip(batch, outcomes, strict=True)
        if isinstance(outcome, BadSpectrumError)
    ]
    result, failures = preprocess(spectra, grid, norm, sample_slope)
    rejected += [_rejected(batch[good[index]], error) for index, error in failures]
    failed = {index for index, _ in failures}
    listed = listing.take(pa.array([i for k, i in enumerate(good) if k not in failed], pa.int64()))
    here = np.isfinite(listed["ra"].to_numpy())
    own: dict[str, Any] = {
        "ra": np.where(here, listed["ra"].to_numpy(), result.ra),
        "dec": np.where(here, listed["dec"].to_numpy(), result.dec),
    }
    own |= {name: getattr(result, name) for name in LEDGER if hasattr(result, name) and name not in own}
    known = [name for name in (*LEDGER, "source_key") if name not in {"source_id", "batch"}]
    rows = pa.table({name: own[name] if name in own else listed[name] for name in known})
    return Loaded((result.flux, result.ivar), rows, rejected, n_bytes)


def _rejected(entry: Entry, error: BadSpectrumError) -> Rejected:
    uri, seen = printable(entry.uri), printable(error.seen)
    return Rejected(entry.object_id, entry.version, uri, error.reason, seen)


def is_outage(loaded: Loaded) -> bool:
    """Tell whether a batch failed because its server is down or refuses everything."""
    lost = [row for row in loaded.rejected if row.reason in PASSING]
    return len(lost) >= OUTAGE and not len(loaded.rows) and len(lost) == len(loaded.rejected)


def settings(grid: GridConfig, norm: NormConfig) -> dict[str, Any]:
    """Return the preprocessing settings as JSON keeps them."""
    return json.loads(json.dumps({"grid": asdict(grid), "norm": asdict(norm)}))


def freeze(
    spectra: Sequence[Spectrum],
    z: Floats,
    grid: GridConfig,
    norm: NormConfig,
    join_radius: float = JOIN_RADIUS,
    kind: str = "",
) -> Frozen:
    """Return what a new store keeps for ever, from its pilot sample and that sample's redshifts, (N,)."""
    slope = median_slope(spectra, norm)
    return Frozen(grid.resolve(z), norm.reference, slope, settings(grid, norm), join_radius, kind)


def check_settings(frozen: Frozen, grid: GridConfig, norm: NormConfig, join_radius: float, kind: str) -> None:
    """Refuse settings that a store was not made with: its rows would not be comparable.

    Raises
    ------
    ValueError
        Names each setting, what it is in the store and what was asked for.
    """
    asked = settings(grid, norm)
    differ = [
        f"{part}.{name} is {value}, not {asked[part].get(name)}"
        for part, kept in frozen.settings.items()
        for name, value in kept.items()
        if value != asked[part].get(name)
    ]
    if frozen.join_radius != join_radius:
        differ.append(f"ingest.join_radius is {frozen.join_radius}, not {join_radius}")
    differ += [f"archive is {frozen.kind}, not {kind}"] if frozen.kind != kind else []
    if differ:
        raise ValueError(f"this store's {'; '.join(differ)}: use another --root, or the same settings")
