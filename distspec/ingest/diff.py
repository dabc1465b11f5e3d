"""Difference between an archive's listing and the store: spectra to read, withdraw, restore and release."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distspec.core.arrow import pc
from distspec.core.errors import TRANSIENT_REASONS, ArchiveError, QuarantineReason, QuarantineRecord
from distspec.core.listing import RowCounts
from distspec.core.text import escape_unprintable
from distspec.ingest.versions import normalize_version
from distspec.store.store import Store

MAX_ID_LENGTH = 200
"""Largest number of characters in an object_id."""
MIN_WITHDRAWN_TO_STOP = 2
"""Smallest number of spectra gone from the listing that stops a run: a small store may lose one."""
LISTING_REASONS = frozenset({QuarantineReason.BAD_ID, QuarantineReason.AMBIGUOUS, QuarantineReason.BAD_ROW})
"""Reasons that concern the listing and not the file: the file is read once the listing is corrected."""


@dataclass(frozen=True)
class ListingDiff:
    """Work that an ingest has to do.

    Parameters
    ----------
    to_read : pyarrow.Table
        Rows of the listing to read: new objects and new versions.
    rejected : sequence of QuarantineRecord
        Objects that the listing itself disqualifies and that are not in quarantine yet.
    withdrawn_rows : ndarray of shape (n_withdrawn,)
        Rows of the store whose objects are no longer listed.
    restored_rows : ndarray of shape (n_restored,)
        Withdrawn rows of the store whose objects are listed again.
    released : sequence of str
        Objects in quarantine that are no longer listed, or whose version in the store is listed again.
    """

    to_read: pa.Table
    rejected: Sequence[QuarantineRecord]
    withdrawn_rows: NDArray[np.int64]
    restored_rows: NDArray[np.int64]
    released: Sequence[str]

    @property
    def is_empty(self) -> bool:
        """Whether the store agrees with the listing."""
        return not (
            len(self.to_read)
            + len(self.rejected)
            + len(self.withdrawn_rows)
            + len(self.restored_rows)
            + len(self.released)
        )


def clean_listing(listing: pa.Table) -> tuple[pa.Table, list[QuarantineRecord]]:
    """Separate the rows of a listing that cannot be used, whatever their files hold.

    Object identifiers become names in tables, files and pages. They are therefore rejected if they are empty,
    longer than `MAX_ID_LENGTH`, or contain control characters or a path. Identical rows count as one; an
    identifier with differing rows is rejected because it is ambiguous.

    Parameters
    ----------
    listing : pyarrow.Table
        Table with `distspec.archives.base.LISTING_SCHEMA`.

    Returns
    -------
    cleaned : pyarrow.Table
        One row for each usable identifier, in the listing's order.
    rejected : list of QuarantineRecord
        One record for each rejected identifier.
    """
    usable = _is_usable(listing["object_id"])
    unusable = listing.filter(pc.invert(usable))
    rejected = [
        _make_rejected(
            row,
            QuarantineReason.BAD_ID,
            f"key of {len(row['object_id'])} characters: {row['object_id'][:80]!r}",
        )
        for row in unusable.to_pylist()
    ]
    if len(unusable):  # copied only if necessary: the listing is the largest object of an ingest
        listing = listing.filter(usable)
    if not _is_strictly_increasing(listing["object_id"]):
        listing, ambiguous = _merge_repeated_rows(listing)
        rejected += ambiguous
    return listing, _drop_duplicates(rejected)


def count_rows(counts: RowCounts, listing: pa.Table) -> RowCounts:
    """Return the counts of a catalog's rows after `clean_listing` has separated those that cannot be used.

    Parameters
    ----------
    counts : RowCounts
        Counts of the archive, in which all rows of the listing are selected.
    listing : pyarrow.Table
        The archive's listing.

    Returns
    -------
    RowCounts
        Selected are the rows of the cleaned listing; identical rows beyond the first are ``duplicate``.
    """
    cleaned, rejected = clean_listing(listing)
    n_left_out = len(listing) - len(cleaned)
    if not n_left_out:
        return counts
    n_bad = len(listing) - pc.sum(_is_usable(listing["object_id"])).as_py()
    names = [record.object_id for record in rejected if record.reason is QuarantineReason.AMBIGUOUS]
    n_ambiguous = pc.sum(pc.is_in(listing["object_id"], value_set=pa.array(names, pa.string()))).as_py()
    counts = counts.quarantine(str(QuarantineReason.BAD_ID), n_bad)
    counts = counts.quarantine(str(QuarantineReason.AMBIGUOUS), n_ambiguous)
    return counts.deselect("duplicate", n_left_out - n_bad - n_ambiguous)


def _is_usable(ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return which identifiers can be names in tables, files and pages."""
    return pc.and_(
        pc.and_(pc.utf8_is_printable(ids), pc.less_equal(pc.utf8_length(ids), MAX_ID_LENGTH)),
        pc.invert(pc.match_substring_regex(ids, r"^\.*$|[/\\]")),
    )


def _merge_repeated_rows(listing: pa.Table) -> tuple[pa.Table, list[QuarantineRecord]]:
    """Keep one of identical rows, and reject identifiers with differing rows."""
    counts = listing["object_id"].value_counts()
    repeated_ids = counts.filter(pc.greater(pc.struct_field(counts, "counts"), 1))
    if not len(repeated_ids):
        return listing, []
    is_repeated = pc.is_in(listing["object_id"], value_set=pc.struct_field(repeated_ids, "values"))
    positions = np.flatnonzero(np.asarray(is_repeated))
    rows = dict(zip(positions.tolist(), listing.take(pa.array(positions)).to_pylist(), strict=True))
    groups: dict[str, list[int]] = {}
    for position, row in rows.items():
        groups.setdefault(row["object_id"], []).append(position)
    keep = np.ones(len(listing), dtype=bool)
    rejected: list[QuarantineRecord] = []
    for group in groups.values():
        n_different = len({str(rows[position]) for position in group})
        keep[group[1:]] = False
        if n_different > 1:
            keep[group[0]] = False
            detail = f"listed {len(group)} times, with {n_different} different versions or places"
            rejected.append(_make_rejected(rows[group[0]], QuarantineReason.AMBIGUOUS, detail))
    return listing.filter(pa.array(keep)), rejected


def compare_listing(
    listing: pa.Table,
    store: Store | None,
    retry_transient: bool = False,
    malformed: Sequence[QuarantineRecord] = (),
) -> ListingDiff:
    """Compare a listing with the ledger and the quarantine of a store.

    Parameters
    ----------
    listing : pyarrow.Table
        Table with `distspec.archives.base.LISTING_SCHEMA`.
    store : Store or None
        Newest snapshot; None if there is no store yet.
    retry_transient : bool, optional
        Whether to read objects again that are in quarantine for a transient reason.
    malformed : sequence of QuarantineRecord, optional
        Rows of the archive's catalog that cannot be listed; their objects are neither withdrawn nor released.

    Returns
    -------
    ListingDiff
        Work to do.
    """
    listing, rejected = clean_listing(listing)
    rejected = _drop_duplicates([*rejected, *malformed])
    if store is None:
        none = np.zeros(0, np.int64)
        return ListingDiff(listing, rejected, none, none, [])
    latest, quarantine = store.latest_rows(), store.read_quarantine()
    ids, versions = listing["object_id"], listing["version"]
    rejected_ids = {record.object_id for record in rejected}
    # Positions in `latest` and `quarantine` of the listed objects, null where there is none.
    in_latest = pc.index_in(ids, value_set=latest["object_id"])
    in_quarantine = pc.index_in(ids, value_set=quarantine["object_id"])
    is_stored = _equal_versions(latest["version"].take(in_latest), versions)
    is_refused = _equal_versions(quarantine["version"].take(in_quarantine), versions)
    is_refused &= ~_take_mask(_find_retried(quarantine, retry_transient), in_quarantine)
    known = {
        name: normalize_version(version)
        for name, version in zip(
            quarantine["object_id"].to_pylist(), quarantine["version"].to_pylist(), strict=True
        )
    }
    is_unlisted = pc.invert(pc.is_in(quarantine["object_id"], value_set=ids))
    released = set(quarantine["object_id"].filter(is_unlisted).to_pylist()) - rejected_ids
    released |= set(ids.filter(pc.and_(pa.array(is_stored), pc.is_valid(in_quarantine))).to_pylist())
    withdrawn_rows, restored_rows = _find_changed_rows(latest, in_latest, is_stored, rejected_ids)
    return ListingDiff(
        to_read=_filter_rows(listing, ~is_stored & ~is_refused),
        rejected=[
            record for record in rejected if known.get(record.object_id) != normalize_version(record.version)
        ],
        withdrawn_rows=withdrawn_rows,
        restored_rows=restored_rows,
        released=sorted(released),
    )


def _find_retried(quarantine: pa.Table, retry_transient: bool) -> NDArray[np.bool_]:
    """Return which objects in quarantine are read again if they are listed."""
    reasons = LISTING_REASONS | (TRANSIENT_REASONS if retry_transient else frozenset())
    return np.isin(quarantine["reason"].to_pylist(), [str(reason) for reason in reasons])


def _find_changed_rows(
    latest: pa.Table, in_latest: pa.ChunkedArray, is_stored: NDArray[np.bool_], rejected_ids: set[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of the store that the listing withdraws and restores."""
    is_listed = np.zeros(len(latest), dtype=bool)
    is_listed[np.asarray(in_latest.drop_null(), dtype=np.int64)] = True
    # An object that the listing disqualifies is still listed: its row stays current.
    is_disqualified = pc.is_in(latest["object_id"], value_set=pa.array(sorted(rejected_ids), pa.string()))
    is_gone = ~(is_listed | np.asarray(is_disqualified))
    has_listed_version = np.zeros(len(latest), dtype=bool)
    has_listed_version[np.asarray(in_latest.filter(pa.array(is_stored)), dtype=np.int64)] = True
    was_withdrawn, rows = np.asarray(latest["withdrawn"]), latest["row"].to_numpy()
    return rows[is_gone & ~was_withdrawn], rows[has_listed_version & was_withdrawn]


def _take_mask(mask: NDArray[np.bool_], positions: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Return a mask at some positions; False where the position is null."""
    return np.asarray(pa.array(mask, pa.bool_()).take(positions).fill_null(False))


def _filter_rows(listing: pa.Table, mask: NDArray[np.bool_]) -> pa.Table:
    """Return some rows of a listing, which is copied only if rows are left out."""
    return listing if mask.all() else listing.filter(pa.array(mask))


def _is_strictly_increasing(ids: pa.ChunkedArray) -> bool:
    """Return whether identifiers are sorted without repetition, as in most listings."""
    return bool(pc.all(pc.less(ids.slice(0, max(0, len(ids) - 1)), ids.slice(1))).as_py() in {True, None})


def _equal_versions(stored: pa.ChunkedArray, listed: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Return which versions are equal by value; False where the stored one is null."""
    is_equal = np.array(pc.equal(stored, listed).fill_null(False))
    different = np.flatnonzero(~is_equal & np.asarray(stored.is_valid()))
    positions = pa.array(different)
    pairs = zip(stored.take(positions).to_pylist(), listed.take(positions).to_pylist(), strict=True)
    is_equal[different] = [normalize_version(one) == normalize_version(other) for one, other in pairs]
    return is_equal


def check_withdrawn_fraction(n_withdrawn: int, n_current: int, max_withdrawn: float) -> None:
    """Raise an `ArchiveError` if the listing lacks too many of the store's current spectra.

    Parameters
    ----------
    n_withdrawn : int
        Number of current spectra that the listing lacks.
    n_current : int
        Number of the store's current spectra.
    max_withdrawn : float
        Largest fraction of the current spectra; fewer than `MIN_WITHDRAWN_TO_STOP` are always allowed.

    Raises
    ------
    ArchiveError
        With the flag that allows it.
    """
    if n_withdrawn >= MIN_WITHDRAWN_TO_STOP and n_withdrawn > max_withdrawn * n_current:
        share = np.ceil(1000.0 * n_withdrawn / n_current) / 1000.0
        raise ArchiveError(
            f"the listing lacks {n_withdrawn:,} of the {n_current:,} current spectra, more than "
            f"ingest.max_withdrawn {max_withdrawn:g}: nothing was changed; if they are withdrawn indeed, run "
            f"this again with --ingest.max-withdrawn {share:g}"
        )


def _drop_duplicates(rejected: Sequence[QuarantineRecord]) -> list[QuarantineRecord]:
    return list({record.object_id: record for record in rejected}.values())


def _make_rejected(row: Mapping[str, Any], reason: QuarantineReason, detail: str) -> QuarantineRecord:
    return QuarantineRecord(
        _quarantine_key(row["object_id"]),
        row["version"],
        escape_unprintable(row["uri"]),
        reason,
        escape_unprintable(detail),
    )


def _quarantine_key(object_id: str) -> str:
    """Return the identifier under which an object is in quarantine: a shortened one if it is unusable."""
    if object_id.isprintable() and 0 < len(object_id) <= MAX_ID_LENGTH:
        return object_id
    digest = hashlib.sha256(object_id.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    shown = "".join(letter if letter.isprintable() else "?" for letter in object_id[:40])
    return f"{shown}… [{digest}]"
