"""Listings of archives: the spectra to ingest, and an account of every row of the catalog."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distspec.core.errors import QuarantineReason, QuarantineRecord


@dataclass(frozen=True)
class RowCounts:
    """What became of the rows of a catalog: each row is counted once.

    Attributes
    ----------
    selected : int
        Rows whose spectra are ingested.
    deselected : mapping of str to int
        Rows that the selection leaves out, by reason: a setting such as ``grade``, ``no redshift`` or
        ``duplicate``.
    quarantined : mapping of str to int
        Rows that cannot be used, by `distspec.core.errors.QuarantineReason`.
    """

    selected: int
    deselected: Mapping[str, int] = field(default_factory=dict[str, int])
    quarantined: Mapping[str, int] = field(default_factory=dict[str, int])

    @property
    def read(self) -> int:
        """Number of rows read: the sum of all counts."""
        return self.selected + sum(self.deselected.values()) + sum(self.quarantined.values())

    def deselect(self, reason: str, n: int) -> RowCounts:
        """Return the counts after `n` selected rows are left out for a reason.

        Parameters
        ----------
        reason : str
            Why the selection leaves them out: a key of ``deselected``.
        n : int
            Number of rows, which is added to those already counted for the reason.
        """
        return replace(self, selected=self.selected - n, deselected=_add(self.deselected, reason, n))

    def quarantine(self, reason: str, n: int) -> RowCounts:
        """Return the counts after `n` selected rows are quarantined for a reason.

        Parameters
        ----------
        reason : str
            A `distspec.core.errors.QuarantineReason`: a key of ``quarantined``.
        n : int
            Number of rows, which is added to those already counted for the reason.
        """
        return replace(self, selected=self.selected - n, quarantined=_add(self.quarantined, reason, n))

    def __str__(self) -> str:
        parts = [f"{self.read:,} rows read", f"{self.selected:,} selected"]
        for name, counts in (("deselected", self.deselected), ("quarantined", self.quarantined)):
            if counts:
                reasons = ", ".join(f"{reason} {n:,}" for reason, n in sorted(counts.items()))
                parts.append(f"{sum(counts.values()):,} {name} ({reasons})")
        return f"{parts[0]}: {', '.join(parts[1:])}"


@dataclass(frozen=True)
class Listing:
    """Spectra that an archive offers, and an account of the rows that were read to list them.

    Attributes
    ----------
    spectra : Table
        Selected spectra, with `distspec.archives.base.LISTING_SCHEMA`.
    deselected : mapping of str to int
        Numbers of rows that the selection leaves out, by reason.
    rejected : sequence of QuarantineRecord
        Rows that cannot be used, one record for each.
    candidates : Table, optional
        Spectra that the selection leaves out only because their redshifts are missing or not trusted, if the
        model is to measure them: the columns of ``spectra``, with NaN for ``z``, and ``deselected_as``, the
        reason under which ``deselected`` counts them.
    """

    spectra: pa.Table
    deselected: Mapping[str, int] = field(default_factory=dict[str, int])
    rejected: Sequence[QuarantineRecord] = ()
    candidates: pa.Table | None = None

    @property
    def counts(self) -> RowCounts:
        """What became of every row."""
        reasons = Counter(str(record.reason) for record in self.rejected)
        return RowCounts(len(self.spectra), dict(self.deselected), dict(reasons))


class RowSelection:
    """Decide row by row whether a catalog's rows are selected, and count the others by reason.

    Parameters
    ----------
    n_rows : int
        Number of rows of the catalog.
    """

    def __init__(self, n_rows: int) -> None:
        self.selected: NDArray[np.bool_] = np.ones(n_rows, bool)
        self.deselected: dict[str, int] = {}

    def deselect(self, rows: NDArray[np.bool_], reason: str) -> None:
        """Leave out rows; those that are left out already keep their first reason.

        Parameters
        ----------
        rows : ndarray of bool, shape (n_rows,)
            Rows to leave out.
        reason : str
            Reason under which they are counted.
        """
        rows = rows & self.selected
        if n := int(np.count_nonzero(rows)):
            self.deselected[reason] = self.deselected.get(reason, 0) + n
            self.selected &= ~rows

    def reject(self, problems: Mapping[int, str], ids: Sequence[str]) -> list[QuarantineRecord]:
        """Leave out selected rows with a malformed cell, and return their records.

        Parameters
        ----------
        problems : mapping of int to str
            Problem of each row that has one, by the position of the row.
        ids : sequence of str
            Identifiers of all rows.

        Returns
        -------
        list of QuarantineRecord
            With reason ``bad_row``.
        """
        rows = [row for row in sorted(problems) if self.selected[row]]
        self.selected[rows] = False
        return [QuarantineRecord(ids[row], "", "", QuarantineReason.BAD_ROW, problems[row]) for row in rows]


def _add(counts: Mapping[str, int], reason: str, n: int) -> dict[str, int]:
    return {**counts, reason: counts.get(reason, 0) + n} if n else dict(counts)
