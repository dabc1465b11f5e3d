"""Classes that last: the names of a run's classes, and what changed since the run before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distspec import schema
from distspec.arrow import pc
from distspec.spectrum import Floats, Floats32
from distspec.succession import MOST, Fates, Ints, Overlap, fates, overlap, successors


@dataclass(frozen=True)
class Published:
    """What the last published run says.

    Attributes
    ----------
    object_id, class_id : (M,) str
        Of every spectrum its class, null of noise.
    given : Table
        `distspec.schema.CLASS_IDS`: every class of every run so far.
    """

    object_id: pa.ChunkedArray
    class_id: pa.ChunkedArray
    given: pa.Table


@dataclass(frozen=True)
class Identities:
    """Who the classes of a run are.

    Attributes
    ----------
    class_id : (B,) str
        Of each class, by its label.
    change : (B,) str
        `Fates.new`; all ``new`` in a first run.
    previous : (N,) str or None
        The class of each spectrum in the last run.
    changes, given : Table
        `distspec.schema.CHANGES` and `CLASS_IDS`.
    """

    class_id: list[str]
    change: list[str]
    previous: pa.Array
    changes: pa.Table
    given: pa.Table

    def of(self, labels: Ints | NDArray[np.int32]) -> pa.Array:
        """Return the class of each of these labels, null of noise."""
        return pa.array(self.class_id, pa.string()).take(pa.array(labels, mask=labels < 0))


def identify(
    run_id: str,
    object_id: pa.ChunkedArray,
    labels: Ints | NDArray[np.int32],
    points: Floats | Floats32,
    last: Published | None,
) -> Identities:
    """Tell who the classes of a run are, and what changed since the last.

    A class that continues an old one has its id; the others get new ones, the largest first. No id is given
    twice, whatever became of its class. A run that has ids keeps them.

    Parameters
    ----------
    run_id : str
    object_id : (N,) str
    labels : (N,)
        Classes from 0, noise −1.
    points : (N, D)
        Where the run's model has them.
    last : Published, optional
        None: there was no run before.
    """
    codes = labels.astype(np.int64)
    if last is None:
        none = pa.array([], pa.string())
        last = Published(pa.chunked_array([none]), pa.chunked_array([none]), _given([]))
    before = sorted(pc.unique(last.class_id.drop_null()).to_pylist())
    code = (
        pc.fill_null(pc.index_in(last.class_id, pa.array(before, pa.string())), -1)
        .to_numpy()
        .astype(np.int64)
    )
    place = pc.fill_null(pc.index_in(object_id, last.object_id), -1).to_numpy()
    old = np.where(place >= 0, code[place] if len(code) else -2, -2)
    left = np.ones(len(code), bool)
    left[place[place >= 0]] = False
    lost = np.bincount(code[left & (code >= 0)], minlength=len(before))
    found = overlap(old, codes, points.astype(np.float64), lost)
    sizes = np.bincount(codes[codes >= 0], minlength=found.shared.shape[1])
    mine = last.given.filter(pc.equal(last.given["run_id"], run_id)).sort_by("cluster_label")
    if len(mine):
        ids = mine["class_id"].to_pylist()
        given = last.given
    else:
        ids = _named(successors(found), before, sizes, last.given)
        rows = [(each, run_id, label, int(sizes[label])) for label, each in enumerate(ids)]
        given = pa.concat_tables([last.given, _given(rows)])
    continued = np.array([before.index(each) if each in before else -1 for each in ids], np.int64)
    became = fates(found, continued)
    previous = pa.array(before, pa.string()).take(pa.array(old, mask=old < 0))
    changes = _changes(found, continued, became, before, ids)
    return Identities(ids, became.new, previous, changes, given)


def _named(continued: Ints, before: Sequence[str], sizes: Ints, given: pa.Table) -> list[str]:
    last = max((int(each.removeprefix("c-")) for each in given["class_id"].to_pylist()), default=0)
    ids: list[str] = [str(before[int(i)]) if i >= 0 else "" for i in continued]
    for label in np.argsort(-sizes, kind="stable"):
        if not ids[label]:
            last += 1
            ids[label] = f"c-{last:04d}"
    return ids


def _given(rows: Sequence[tuple[str, str, int, int]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [[]] * len(schema.CLASS_IDS)
    names = (column.name for column in schema.CLASS_IDS)
    return schema.conform(dict(zip(names, columns, strict=True)), schema.CLASS_IDS, {})


def _changes(
    found: Overlap, continued: Ints, became: Fates, before: Sequence[str], ids: Sequence[str]
) -> pa.Table:
    """Return a row wherever spectra went from one place to another, and for what is new or gone."""
    n_old, n_new = found.shared.shape
    rows: list[dict[str, Any]] = []
    for i, j in np.ndindex(found.counts.shape):
        n = int(found.counts[i, j])
        change = _change(found, continued, became, i, j)
        if not change or (n == 0 and change not in ("new", "gone")):
            continue
        both = i < n_old and j < n_new
        row = {
            "class_id": ids[j] if j < n_new else None,
            "previous_class_id": before[i] if i < n_old else None,
            "change": change,
            "n_spectra": n,
            "jaccard": found.jaccard[i, j] if both else None,
            "share_of_previous": found.of_old[i, j] if both else None,
            "share_of_class": found.of_new[i, j] if both else None,
            "distance": found.distance[i, j] if both else None,
        }
        rows.append(row | {"why": _why(row, ids)})
    rows.sort(key=lambda row: (-row["n_spectra"], row["class_id"] or "", row["previous_class_id"] or ""))
    return schema.conform({c.name: [row[c.name] for row in rows] for c in schema.CHANGES}, schema.CHANGES, {})


def _change(found: Overlap, continued: Ints, became: Fates, i: int, j: int) -> str:
    """Name what leads from an old place to a new one; "" for what is no change and no class."""
    n_old, n_new = found.shared.shape
    if j < n_new and i < n_old:
        if continued[j] == i:
            return "kept"
        if continued[j] < 0 and found.of_new[i, j] >= MOST:
            return "split"
        return "merged" if i not in continued and found.of_old[i, j] >= MOST else "moved"
    if j < n_new:
        return "from noise" if i == n_old else "new" if became.new[j] == "new" else "added"
    if i < n_old:
        return "to noise" if j == n_new else "gone" if became.old[i] == "gone" else "withdrawn"
    return ""


def _why(row: dict[str, Any], ids: Sequence[str]) -> str:
    mine, its, n = row["class_id"], row["previous_class_id"], row["n_spectra"]
    if mine and its:
        into, of = row["share_of_previous"], row["share_of_class"]
        end = {
            "kept": f"centres {row['distance']:.2f} radii apart",
            "split": f"{its} {'goes on' if its in ids else 'ends'}",
            "merged": f"{its} ends",
            "moved": "most of either is elsewhere" if max(into, of) < MOST else "both go on",
        }[row["change"]]
        return f"{into:.0%} of {its}, {of:.0%} of what was there of {mine}; {end}"
    return {
        "new": f"continues no class; {n} of its spectra were not in the last run",
        "added": f"{n} spectra were not in the last run",
        "from noise": f"{n} spectra were in no class",
        "gone": f"nothing continues it; {n} of its spectra are not in this run",
        "withdrawn": f"{n} spectra are not in this run",
        "to noise": f"{n} spectra are in no class now",
    }[row["change"]]
