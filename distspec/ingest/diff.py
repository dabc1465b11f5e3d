"""How an archive has grown: what its listing has that the store has not, and the other way round."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distspec.core.arrow import pc
from distspec.core.errors import TRANSIENT_REASONS, QuarantineReason, QuarantineRecord
from distspec.core.text import escape_unprintable
from distspec.store.store import Store

MAX_ID_LENGTH = 200
"""Characters of an object_id."""
LISTING_REASONS = frozenset({QuarantineReason.BAD_ID, QuarantineReason.AMBIGUOUS})
"""Faults of a listing, not of a file: a listing without them has the file read."""


@dataclass(frozen=True)
class ListingDiff:
    """What one run has to do.

    Attributes
    ----------
    to_read : pa.Table
        Rows of the listing to read: new objects and new versions.
    rejected : list of Rejected
        What the listing itself disqualifies, less what the quarantine knows already.
    withdrawn_rows, restored_rows : (n,) int
        Rows of the store that the listing no longer has, and that it has again.
    released : list of str
        Objects in quarantine that are not listed any more, or whose version in the store is listed again.
    """

    to_read: pa.Table
    rejected: Sequence[QuarantineRecord]
    withdrawn_rows: NDArray[np.int64]
    restored_rows: NDArray[np.int64]
    released: Sequence[str]

    @property
    def is_empty(self) -> bool:
        """Whether store and listing agree."""
        return not (
            len(self.to_read)
            + len(self.rejected)
            + len(self.withdrawn_rows)
            + len(self.restored_rows)
            + len(self.released)
        )


def clean_listing(listing: pa.Table) -> tuple[pa.Table, list[QuarantineRecord]]:
    """Take out of a listing what cannot be used, whatever its file holds.

    Keys become names in tables, files and pages: one that is empty, longer than `MAX_ID_LENGTH` or holds control
    characters or a path is refused. Rows that are listed twice alike count once; a key that is listed with
    differing rows is refused, for nobody can tell which is meant.

    Returns
    -------
    pa.Table
        One row a key, in the listing's order.
    list of Rejected
        One a refused key.
    """
    ids = listing["object_id"]
    usable = pc.and_(
        pc.and_(pc.utf8_is_printable(ids), pc.less_equal(pc.utf8_length(ids), MAX_ID_LENGTH)),
        pc.invert(pc.match_substring_regex(ids, r"^\.*$|[/\\]")),
    )
    bad = listing.filter(pc.invert(usable))
    rejected = [
        _make_rejected(
            row,
            QuarantineReason.BAD_ID,
            f"key of {len(row['object_id'])} characters: {row['object_id'][:80]!r}",
        )
        for row in bad.to_pylist()
    ]
    if len(bad):  # a listing is the largest thing that a run holds: no copy for nothing
        listing = listing.filter(usable)
    if _is_strictly_increasing(listing["object_id"]):
        return listing, _drop_duplicates(rejected)
    counts = listing["object_id"].value_counts()
    twice = counts.filter(pc.greater(pc.struct_field(counts, "counts"), 1))
    if not len(twice):
        return listing, _drop_duplicates(rejected)
    repeated = pc.is_in(listing["object_id"], value_set=pc.struct_field(twice, "values"))
    places = np.flatnonzero(np.asarray(repeated))
    groups: dict[str, list[int]] = {}
    rows = dict(zip(places.tolist(), listing.take(pa.array(places)).to_pylist(), strict=True))
    for place, row in rows.items():
        groups.setdefault(row["object_id"], []).append(place)
    keep = np.ones(len(listing), dtype=bool)
    for group in groups.values():
        versions = sorted({str(rows[place]) for place in group})
        keep[group[1:]] = False
        if len(versions) > 1:
            keep[group[0]] = False
            seen = f"listed {len(group)} times, with {len(versions)} different versions or places"
            rejected.append(_make_rejected(rows[group[0]], QuarantineReason.AMBIGUOUS, seen))
    return listing.filter(pa.array(keep)), _drop_duplicates(rejected)


def compare_listing(listing: pa.Table, store: Store | None, retry_transient: bool = False) -> ListingDiff:
    """Compare a listing with the store's ledger and quarantine.

    Parameters
    ----------
    listing : pa.Table
        `distspec.archives.base.LISTING_SCHEMA`.
    store : Store or None
        None before there is one.
    retry_transient : bool
        Read again what is in quarantine for a passing cause.
    """
    listing, rejected = clean_listing(listing)
    none = np.zeros(0, np.int64)
    if store is None:
        return ListingDiff(listing, rejected, none, none, [])
    latest, quarantine = store.latest_rows(), store.read_quarantine()
    ids, versions = listing["object_id"], listing["version"]
    row = pc.index_in(ids, value_set=latest["object_id"])
    stored = _equal_versions(latest["version"].take(row), versions)
    entry = pc.index_in(ids, value_set=quarantine["object_id"])
    refused = _equal_versions(quarantine["version"].take(entry), versions)
    again = LISTING_REASONS | (TRANSIENT_REASONS if retry_transient else frozenset())
    once_more = np.isin(quarantine["reason"].to_pylist(), [str(reason) for reason in again])
    refused &= ~np.asarray(pa.array(once_more, pa.bool_()).take(entry).fill_null(False))
    named = {r.object_id for r in rejected}
    there = np.zeros(len(latest), dtype=bool)
    there[np.asarray(row.drop_null(), dtype=np.int64)] = True
    # A key that the listing spoils is still there: what is known of it stands.
    spoilt = pc.is_in(latest["object_id"], value_set=pa.array(sorted(named), pa.string()))
    gone = ~(there | np.asarray(spoilt))
    was_withdrawn = np.asarray(latest["withdrawn"])
    rows = latest["row"].to_numpy()
    is_listed = np.zeros(len(latest), dtype=bool)
    is_listed[np.asarray(row.filter(pa.array(stored)), dtype=np.int64)] = True
    known = dict(zip(quarantine["object_id"].to_pylist(), quarantine["version"].to_pylist(), strict=True))
    fresh = [r for r in rejected if known.get(r.object_id) != r.version]
    unlisted = pc.invert(pc.is_in(quarantine["object_id"], value_set=ids))
    settled = set(quarantine["object_id"].filter(unlisted).to_pylist()) - named
    settled |= set(ids.filter(pc.and_(pa.array(stored), pc.is_valid(entry))).to_pylist())
    return ListingDiff(
        to_read=_filter_rows(listing, ~stored & ~refused),
        rejected=fresh,
        withdrawn_rows=rows[gone & ~was_withdrawn],
        restored_rows=rows[is_listed & was_withdrawn],
        released=sorted(settled),
    )


def _filter_rows(listing: pa.Table, mask: NDArray[np.bool_]) -> pa.Table:
    """Return some rows; a listing is the largest thing that a run holds: no copy where all are meant."""
    return listing if mask.all() else listing.filter(pa.array(mask))


def _is_strictly_increasing(ids: pa.ChunkedArray) -> bool:
    """Tell whether each key comes after the one before: then, as in most listings, none is there twice."""
    return bool(pc.all(pc.less(ids.slice(0, max(0, len(ids) - 1)), ids.slice(1))).as_py() in {True, None})


def _equal_versions(stored: pa.ChunkedArray, listed: pa.ChunkedArray) -> NDArray[np.bool_]:
    return np.asarray(pc.equal(stored, listed).fill_null(False))


def _drop_duplicates(rejected: Sequence[QuarantineRecord]) -> list[QuarantineRecord]:
    return list({row.object_id: row for row in rejected}.values())


def _make_rejected(row: dict[str, str], reason: QuarantineReason, detail: str) -> QuarantineRecord:
    return QuarantineRecord(
        _quarantine_key(row["object_id"]),
        row["version"],
        escape_unprintable(row["uri"]),
        reason,
        escape_unprintable(detail),
    )


def _quarantine_key(object_id: str) -> str:
    """Return what a key is called in the quarantine: itself, if it can be a name."""
    if object_id.isprintable() and 0 < len(object_id) <= MAX_ID_LENGTH:
        return object_id
    digest = hashlib.sha256(object_id.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    shown = "".join(letter if letter.isprintable() else "?" for letter in object_id[:40])
    return f"{shown}… [{digest}]"
