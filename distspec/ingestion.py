"""Ingest, apart from Ray: what is new, what a batch of files becomes, and in which order it is committed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from distspec.archives.protocol import Archive, Entry
from distspec.identity import assign_sources
from distspec.preprocessing import GridConfig, NormConfig, median_slope, preprocess
from distspec.spectrum import BadSpectrumError, Floats, Reason, Rejected, Spectrum, SpectrumBatch, WaveGrid
from distspec.store import Frozen, Store, known_sources

PILOT = 256
"""Spectra read before a store is made, to learn the sample's median slope."""


@dataclass(frozen=True)
class IngestConfig:
    """How an archive is read."""

    batch_size: int = 64
    """Files a Ray task."""
    in_flight: int = 0
    """Tasks at a time; 0: two a CPU."""
    commit_rows: int = 8192
    """Rows a commit: a killed run loses at most so many."""

    def __post_init__(self) -> None:
        if min(self.batch_size, self.commit_rows) < 1 or self.in_flight < 0:
            raise ValueError("ingest.batch_size and commit_rows must be positive, in_flight not negative")


class Loaded(NamedTuple):
    """What a batch of files became: rows, and reasons for the rest."""

    batch: SpectrumBatch
    rejected: list[Rejected]


def missing(listing: pa.Table, store: Store | None) -> pa.Table:
    """Return the rows of a listing whose (object_id, version) the store has neither kept nor rejected.

    One row an `object_id`: of several the first counts.
    """
    seen: set[tuple[str, str]] = set()
    if store is not None:
        ledger, quarantine = store.ledger(["object_id", "version"]), store.quarantine()
        # Of a spectrum in the store its last version counts: one that comes back is new again.
        seen.update(dict(zip(*(column.to_pylist() for column in ledger.columns), strict=True)).items())
        rejected = quarantine["object_id"].to_pylist(), quarantine["version"].to_pylist()
        seen.update(zip(*rejected, strict=True))
    ids, versions = listing["object_id"].to_pylist(), listing["version"].to_pylist()
    listed: set[str] = set()
    keep: list[bool] = []
    for object_id, version in zip(ids, versions, strict=True):
        keep.append(object_id not in listed and (object_id, version) not in seen)
        listed.add(object_id)
    return listing.filter(pa.array(keep, pa.bool_()))


def entries(listing: pa.Table) -> list[Entry]:
    """Return what reading needs of each row."""
    columns = [listing[name].to_pylist() for name in Entry.__dataclass_fields__]
    return [Entry(*row) for row in zip(*columns, strict=True)]


def pilot(listing: pa.Table) -> list[Entry]:
    """Return up to `PILOT` entries spread evenly over a listing."""
    n = len(listing)
    rows = np.unique(np.linspace(0, n - 1, min(n, PILOT)).round().astype(np.int64))
    return entries(listing.take(pa.array(rows)))


def read(archive: Archive, batch: Sequence[Entry]) -> tuple[list[Spectrum], list[Entry], list[Rejected]]:
    """Read files: the spectra, their entries, and what could not be read."""
    spectra: list[Spectrum] = []
    good: list[Entry] = []
    rejected: list[Rejected] = []
    for entry in batch:
        try:
            check_position(entry)
            spectra.append(archive.read(entry))
            good.append(entry)
        except BadSpectrumError as error:
            rejected.append(_rejected(entry, error))
    return spectra, good, rejected


def check_position(entry: Entry) -> None:
    """Refuse a spectrum that cannot be given to a source.

    Raises
    ------
    BadSpectrumError
        ``bad_position``.
    """
    if not (np.isfinite(entry.ra) and abs(entry.dec) <= 90.0):
        seen = f"RA {entry.ra}, Dec {entry.dec} deg"
        raise BadSpectrumError(Reason.BAD_POSITION, seen)


def load(
    archive: Archive, batch: Sequence[Entry], grid: WaveGrid, norm: NormConfig, sample_slope: float
) -> Loaded:
    """Read and preprocess files: every entry ends as one row or one rejection."""
    spectra, good, rejected = read(archive, batch)
    rows, failures = preprocess(spectra, grid, norm, sample_slope)
    rejected += [_rejected(good[index], error) for index, error in failures]
    return Loaded(rows, rejected)


def _rejected(entry: Entry, error: BadSpectrumError) -> Rejected:
    return Rejected(entry.object_id, entry.version, entry.uri, error.reason, error.seen)


def settings(grid: GridConfig, norm: NormConfig) -> dict[str, Any]:
    """Return the preprocessing settings as JSON keeps them."""
    return json.loads(json.dumps({"grid": asdict(grid), "norm": asdict(norm)}))


def freeze(spectra: Sequence[Spectrum], z: Floats, grid: GridConfig, norm: NormConfig) -> Frozen:
    """Return what a new store keeps for ever, from its pilot sample and the listing's redshifts, (N,)."""
    return Frozen(grid.resolve(z), norm.reference, median_slope(spectra, norm), settings(grid, norm))


def check_settings(frozen: Frozen, grid: GridConfig, norm: NormConfig) -> None:
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
    if differ:
        raise ValueError(f"this store's {'; '.join(differ)}: use another --root, or the same settings")


class Committer:
    """Commits batches in the order of the listing: whole chunks while there are more to come.

    Parameters
    ----------
    store : Store
    listing : pa.Table
        Of all that is being ingested.
    commit_rows : int
        Commit when so many rows wait.
    """

    def __init__(self, store: Store, listing: pa.Table, commit_rows: int) -> None:
        self.store = store
        self.n_rows = self.n_rejected = 0
        self._row_of = {name: i for i, name in enumerate(listing["object_id"].to_pylist())}
        self._listing = listing
        self._commit_rows = commit_rows
        self._waiting: list[Loaded] = []

    def add(self, loaded: Loaded) -> None:
        """Take the next batch; commit when enough rows wait."""
        self._waiting.append(loaded)
        if sum(len(part.batch) for part in self._waiting) >= self._commit_rows:
            self.commit()

    def commit(self) -> None:
        """Commit whatever waits."""
        if not self._waiting:
            return
        batch = concatenate([part.batch for part in self._waiting])
        rejected = [row for part in self._waiting for row in part.rejected]
        rows = self._listing.take(pa.array([self._row_of[name] for name in batch.object_id], pa.int64()))
        identity: dict[str, Any] = {
            name: rows[name].to_pylist() for name in rows.column_names if name != "source_key"
        }
        identity["source_id"] = self._sources(rows)
        message = f"{len(batch)} spectra, {len(rejected)} rejected"
        self.store = self.store.append(batch, identity, rejected, message)
        self.n_rows += len(batch)
        self.n_rejected += len(rejected)
        self._waiting = []

    def _sources(self, rows: pa.Table) -> list[str]:
        ra, dec, names = known_sources(self.store.ledger(["source_id", "ra", "dec"]))
        return assign_sources(
            rows["ra"].to_numpy(),
            rows["dec"].to_numpy(),
            ra,
            dec,
            names,
            rows["source_key"].to_pylist(),
        )


def concatenate(parts: Sequence[SpectrumBatch]) -> SpectrumBatch:
    """Join batches on one grid."""
    first = parts[0]
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in first.__dataclass_fields__
        if name != "object_id"
    }
    return replace(first, object_id=[name for part in parts for name in part.object_id], **arrays)


def split(items: Sequence[Entry], size: int) -> Iterator[Sequence[Entry]]:
    """Cut a sequence into batches of `size`, the last one shorter."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
