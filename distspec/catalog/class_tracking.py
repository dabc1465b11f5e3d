"""Classes that last: the names of a run's classes, and what changed since the run before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from distspec.core import schema
from distspec.core.arrow import pc
from distspec.core.spectrum import Floats, Floats32

MIN_JACCARD = 1 / 3
"""A class goes on where it shares at least this much of all spectra that either holds: so wherever most of
each is in the other (Jaccard ≥ 1/3)."""
MAJORITY_FRACTION = 0.5
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class ClassOverlap:
    """How the classes of two runs share spectra, and how far apart they are.

    Attributes
    ----------
    counts : (A + 2, B + 2)
        Spectra of each of A old classes in each of B new ones; after the classes noise, and those that the
        other run does not hold.
    distance : (A, B)
        Between centres in the new run's space, in root mean square radii of the two; inf where an old class
        has no spectrum left.
    """

    counts: Ints
    distance: Floats

    @property
    def shared_counts(self) -> Ints:
        """Spectra of old in new classes, (A, B)."""
        return self.counts[:-2, :-2]

    @property
    def fraction_of_old(self) -> Floats:
        """Share of an old class's spectra, of those still there, that is in each new class, (A, B)."""
        return _ratio(self.shared_counts, self.counts[:-2, :-1].sum(axis=1)[:, None])

    @property
    def fraction_of_new(self) -> Floats:
        """Share of a new class's spectra, of those that the old run held, from each old class, (A, B)."""
        return _ratio(self.shared_counts, self.counts[:-1, :-2].sum(axis=0)[None, :])

    @property
    def jaccard(self) -> Floats:
        """Shared over all that either holds, of the spectra in both runs, (A, B)."""
        old, new = self.counts[:-2, :-1].sum(axis=1), self.counts[:-1, :-2].sum(axis=0)
        return _ratio(self.shared_counts, old[:, None] + new[None, :] - self.shared_counts)


def _ratio(part: Ints, whole: Ints) -> Floats:
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)


def compute_overlap(old_labels: Ints, new_labels: Ints, points: Floats, n_lost: Ints) -> ClassOverlap:
    """Compare two runs.

    Parameters
    ----------
    old_labels, new_labels : (N,)
        Class of each of the new run's spectra in either run, from 0; −1 noise; in `old_labels` −2: it was not there.
    points : (N, D)
        Where they lie in the new run's space.
    n_lost : (A,)
        Spectra of each old class that are no longer there; A is the number of old classes.

    Examples
    --------
    >>> old, new = np.array([0, 0, 1, 1]), np.array([1, 1, 0, -1])
    >>> overlap(old, new, np.eye(4), np.array([0, 0])).jaccard
    array([[0. , 1. ],
           [0.5, 0. ]])
    """
    n_old, n_new = len(n_lost), int(new_labels.max(initial=-1)) + 1
    counts = np.zeros((n_old + 2, n_new + 2), np.int64)
    np.add.at(
        counts,
        (
            np.where(old_labels < 0, n_old - 1 - old_labels, old_labels),
            np.where(new_labels < 0, n_new, new_labels),
        ),
        1,
    )
    counts[:n_old, -1] = n_lost
    before, after = _compute_centers(old_labels, points, n_old), _compute_centers(new_labels, points, n_new)
    apart = np.linalg.norm(before[0][:, None] - after[0][None], axis=2)
    radius = np.sqrt(0.5 * (before[1][:, None] + after[1][None]))
    distance = np.divide(apart, radius, out=np.where(apart > 0, np.inf, apart), where=radius > 0)
    return ClassOverlap(counts, np.where(np.isfinite(distance), distance, np.inf))


def _compute_centers(labels: Ints, points: Floats, n_classes: int) -> tuple[Floats, Floats]:
    """Return each class's centre, (n, D), and its mean squared distance from it, (n,); NaN of none."""
    centre, square = np.full((n_classes, points.shape[1]), np.nan), np.full(n_classes, np.nan)
    for label in range(n_classes):
        own = points[labels == label]
        if len(own):
            centre[label] = own.mean(axis=0)
            square[label] = np.square(own - centre[label]).sum(axis=1).mean()
    return centre, square


def match_classes(overlap: ClassOverlap) -> Ints:
    """Return which old class each new one continues, (B,); −1 for none.

    Of the pairs that share `MIN_JACCARD`, those of the assignment that maximises the sum of
    Jaccard / (1 + distance): where two could continue one, what lies where it lay has the better claim.
    """
    jaccard = overlap.jaccard
    worth = np.where(jaccard >= MIN_JACCARD, jaccard / (1.0 + overlap.distance), 0.0)
    result = np.full(worth.shape[1], -1)
    for i, j in zip(*linear_sum_assignment(worth, maximize=True), strict=True):
        if worth[i, j] > 0:
            result[j] = i
    return result


@dataclass(frozen=True)
class ChangeTypes:
    """What became of classes.

    Attributes
    ----------
    new_classes : (B,) str
        ``kept``; ``split``, most of it from a class that goes on elsewhere or no more; ``merged``, most of it
        from classes that ended in it; ``new``.
    old_classes : (A,) str
        ``kept``; ``merged``, most of it in one class that continues another; ``split``, most of it in
        classes that are mostly from it; ``gone``.
    """

    new_classes: list[str]
    old_classes: list[str]


def classify_changes(overlap: ClassOverlap, predecessors: Ints) -> ChangeTypes:
    """Say what became of classes, given which old class each new one continues, (B,)."""
    of_old, of_new = overlap.fraction_of_old, overlap.fraction_of_new
    goes_on = np.isin(np.arange(len(of_old)), predecessors)
    pieces = (of_new >= MAJORITY_FRACTION) & (predecessors < 0)
    ended = (of_old >= MAJORITY_FRACTION) & ~goes_on[:, None]
    new, old = ["new"] * len(predecessors), ["gone"] * len(of_old)
    for j, i in enumerate(predecessors):
        if i >= 0:
            new[j] = "kept"
        elif pieces[:, j].any():
            new[j] = "split"
        elif np.sum(of_new[:, j], where=ended[:, j]) >= MAJORITY_FRACTION:
            new[j] = "merged"
    for i in range(len(of_old)):
        if goes_on[i]:
            old[i] = "kept"
        elif ended[i].any():
            old[i] = "merged"
        elif np.sum(of_old[i], where=pieces[i]) >= MAJORITY_FRACTION:
            old[i] = "split"
    return ChangeTypes(new, old)


@dataclass(frozen=True)
class PublishedClasses:
    """What the last published run says.

    Attributes
    ----------
    object_ids, class_ids : (M,) str
        Of every spectrum its class, null of noise.
    class_registry : Table
        `distspec.core.schema.CLASS_IDS_SCHEMA`: every class of every run so far.
    """

    object_ids: pa.ChunkedArray
    class_ids: pa.ChunkedArray
    class_registry: pa.Table


@dataclass(frozen=True)
class TrackedClasses:
    """Who the classes of a run are.

    Attributes
    ----------
    class_ids : (B,) str
        Of each class, by its label.
    change_types : (B,) str
        `Fates.new`; all ``new`` in a first run.
    previous_class_ids : (N,) str or None
        The class of each spectrum in the last run.
    changes, class_registry : Table
        `distspec.core.schema.CLASS_CHANGES_SCHEMA` and `CLASS_IDS_SCHEMA`.
    """

    class_ids: list[str]
    change_types: list[str]
    previous_class_ids: pa.Array
    changes: pa.Table
    class_registry: pa.Table

    def map_labels(self, labels: Ints | NDArray[np.int32]) -> pa.Array:
        """Return the class of each of these labels, null of noise."""
        return pa.array(self.class_ids, pa.string()).take(pa.array(labels, mask=labels < 0))


def track_classes(
    run_id: str,
    object_ids: pa.ChunkedArray,
    labels: Ints | NDArray[np.int32],
    points: Floats | Floats32,
    previous: PublishedClasses | None,
) -> TrackedClasses:
    """Tell who the classes of a run are, and what changed since the last.

    A class that continues an old one has its id; the others get new ones, the largest first. No id is given
    twice, whatever became of its class. A run that has ids keeps them.

    Parameters
    ----------
    run_id : str
    object_ids : (N,) str
    labels : (N,)
        Classes from 0, noise −1.
    points : (N, D)
        Where the run's model has them.
    previous : Published, optional
        None: there was no run before.
    """
    codes = labels.astype(np.int64)
    if previous is None:
        none = pa.array([], pa.string())
        previous = PublishedClasses(pa.chunked_array([none]), pa.chunked_array([none]), _registry_table([]))
    before = sorted(pc.unique(previous.class_ids.drop_null()).to_pylist())
    code = (
        pc.fill_null(pc.index_in(previous.class_ids, pa.array(before, pa.string())), -1)
        .to_numpy()
        .astype(np.int64)
    )
    place = pc.fill_null(pc.index_in(object_ids, previous.object_ids), -1).to_numpy()
    old = np.where(place >= 0, code[place] if len(code) else -2, -2)
    left = np.ones(len(code), bool)
    left[place[place >= 0]] = False
    lost = np.bincount(code[left & (code >= 0)], minlength=len(before))
    found = compute_overlap(old, codes, points.astype(np.float64), lost)
    sizes = np.bincount(codes[codes >= 0], minlength=found.shared_counts.shape[1])
    mine = previous.class_registry.filter(pc.equal(previous.class_registry["run_id"], run_id)).sort_by(
        "cluster_label"
    )
    if len(mine):
        ids = mine["class_id"].to_pylist()
        given = previous.class_registry
    else:
        ids = _assign_class_ids(match_classes(found), before, sizes, previous.class_registry)
        rows = [(each, run_id, label, int(sizes[label])) for label, each in enumerate(ids)]
        given = pa.concat_tables([previous.class_registry, _registry_table(rows)])
    continued = np.array([before.index(each) if each in before else -1 for each in ids], np.int64)
    became = classify_changes(found, continued)
    previous_ids = pa.array(before, pa.string()).take(pa.array(old, mask=old < 0))
    changes = _build_changes(found, continued, became, before, ids)
    return TrackedClasses(ids, became.new_classes, previous_ids, changes, given)


def _assign_class_ids(
    predecessors: Ints, previous_ids: Sequence[str], sizes: Ints, class_registry: pa.Table
) -> list[str]:
    last = max((int(each.removeprefix("c-")) for each in class_registry["class_id"].to_pylist()), default=0)
    ids: list[str] = [str(previous_ids[int(i)]) if i >= 0 else "" for i in predecessors]
    for label in np.argsort(-sizes, kind="stable"):
        if not ids[label]:
            last += 1
            ids[label] = f"c-{last:04d}"
    return ids


def _registry_table(rows: Sequence[tuple[str, str, int, int]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [[]] * len(schema.CLASS_IDS_SCHEMA)
    names = (column.name for column in schema.CLASS_IDS_SCHEMA)
    return schema.build_table(dict(zip(names, columns, strict=True)), schema.CLASS_IDS_SCHEMA, {})


def _build_changes(
    overlap: ClassOverlap,
    predecessors: Ints,
    change_types: ChangeTypes,
    previous_ids: Sequence[str],
    ids: Sequence[str],
) -> pa.Table:
    """Return a row wherever spectra went from one place to another, and for what is new or gone."""
    n_old, n_new = overlap.shared_counts.shape
    rows: list[dict[str, Any]] = []
    for i, j in np.ndindex(overlap.counts.shape):
        n = int(overlap.counts[i, j])
        change = _change_type(overlap, predecessors, change_types, i, j)
        if not change or (n == 0 and change not in ("new", "gone")):
            continue
        both = i < n_old and j < n_new
        row = {
            "class_id": ids[j] if j < n_new else None,
            "previous_class_id": previous_ids[i] if i < n_old else None,
            "change": change,
            "n_spectra": n,
            "jaccard": overlap.jaccard[i, j] if both else None,
            "share_of_previous": overlap.fraction_of_old[i, j] if both else None,
            "share_of_class": overlap.fraction_of_new[i, j] if both else None,
            "distance": overlap.distance[i, j] if both else None,
        }
        rows.append(row | {"reason": _describe_change(row, ids)})
    rows.sort(key=lambda row: (-row["n_spectra"], row["class_id"] or "", row["previous_class_id"] or ""))
    return schema.build_table(
        {c.name: [row[c.name] for row in rows] for c in schema.CLASS_CHANGES_SCHEMA},
        schema.CLASS_CHANGES_SCHEMA,
        {},
    )


def _change_type(overlap: ClassOverlap, predecessors: Ints, change_types: ChangeTypes, i: int, j: int) -> str:
    """Name what leads from an old place to a new one; "" for what is no change and no class."""
    n_old, n_new = overlap.shared_counts.shape
    if j < n_new and i < n_old:
        if predecessors[j] == i:
            return "kept"
        if predecessors[j] < 0 and overlap.fraction_of_new[i, j] >= MAJORITY_FRACTION:
            return "split"
        return (
            "merged"
            if i not in predecessors and overlap.fraction_of_old[i, j] >= MAJORITY_FRACTION
            else "moved"
        )
    if j < n_new:
        return "from noise" if i == n_old else "new" if change_types.new_classes[j] == "new" else "added"
    if i < n_old:
        return "to noise" if j == n_new else "gone" if change_types.old_classes[i] == "gone" else "withdrawn"
    return ""


def _describe_change(row: dict[str, Any], ids: Sequence[str]) -> str:
    mine, its, n = row["class_id"], row["previous_class_id"], row["n_spectra"]
    if mine and its:
        into, of = row["share_of_previous"], row["share_of_class"]
        end = {
            "kept": f"centres {row['distance']:.2f} radii apart",
            "split": f"{its} {'goes on' if its in ids else 'ends'}",
            "merged": f"{its} ends",
            "moved": "most of either is elsewhere" if max(into, of) < MAJORITY_FRACTION else "both go on",
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
