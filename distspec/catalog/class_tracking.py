"""Persistent identifiers of classes across runs, and the changes since the previous run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distspec.catalog.class_matching import (
    MAJORITY_FRACTION,
    ChangeTypes,
    ClassOverlap,
    Ints,
    classify_changes,
    compute_overlap,
    match_classes,
)
from distspec.core import schema
from distspec.core.arrow import pc
from distspec.core.spectrum import Floats, Floats32


@dataclass(frozen=True)
class PublishedClasses:
    """Classes of the previously published run.

    Attributes
    ----------
    object_ids : ChunkedArray of shape (n_spectra,)
        Identifiers of its spectra.
    class_ids : ChunkedArray of shape (n_spectra,)
        Class of each spectrum; null for noise.
    class_registry : Table
        All classes of all published runs, with the columns `CLASS_IDS_SCHEMA`.
    """

    object_ids: pa.ChunkedArray
    class_ids: pa.ChunkedArray
    class_registry: pa.Table


@dataclass(frozen=True)
class TrackedClasses:
    """Identifiers of the classes of a run, and how they changed since the previous run.

    Attributes
    ----------
    class_ids : list of str
        Identifier of each class, by label.
    change_types : list of str
        Change of each class (`ChangeTypes.new_classes`); all ``new`` in a first run.
    previous_class_ids : Array of shape (n_spectra,)
        Class of each spectrum in the previous run; null for none.
    changes : Table
        Changes since the previous run, with the columns `CLASS_CHANGES_SCHEMA`.
    class_registry : Table
        All classes of all published runs and of this one, with the columns `CLASS_IDS_SCHEMA`.
    """

    class_ids: list[str]
    change_types: list[str]
    previous_class_ids: pa.Array
    changes: pa.Table
    class_registry: pa.Table

    def map_labels(self, labels: Ints | NDArray[np.int32]) -> pa.Array:
        """Return the class identifier of each label; null for noise.

        Parameters
        ----------
        labels : ndarray of shape (n_spectra,)
            Labels of the run.

        Returns
        -------
        pa.Array
        """
        return pa.array(self.class_ids, pa.string()).take(pa.array(labels, mask=labels < 0))


def track_classes(
    run_id: str,
    object_ids: pa.ChunkedArray,
    labels: Ints | NDArray[np.int32],
    points: Floats | Floats32,
    previous: PublishedClasses | None,
) -> TrackedClasses:
    """Assign persistent identifiers to the classes of a run.

    A class that continues a class of the previous run keeps its identifier. The others get new identifiers,
    larger classes first. An identifier is never used for two classes. A run that was published before keeps
    the identifiers that it had.

    Parameters
    ----------
    run_id : str
        Identifier of the run.
    object_ids : ChunkedArray of shape (n_spectra,)
        Identifiers of the spectra.
    labels : ndarray of shape (n_spectra,)
        Classes from 0; -1 for noise.
    points : ndarray of shape (n_spectra, n_dims)
        Positions in the latent space of the run's model.
    previous : PublishedClasses or None
        Classes of the previous run; None for a first run.

    Returns
    -------
    TrackedClasses
        Identifiers and changes.
    """
    codes = labels.astype(np.int64)
    if previous is None:
        empty = pa.chunked_array([pa.array([], pa.string())])
        previous = PublishedClasses(empty, empty, _build_registry([]))
    old_ids = sorted(pc.unique(previous.class_ids.drop_null()).to_pylist())
    old_labels, n_lost = _match_spectra(object_ids, previous, old_ids)
    overlap = compute_overlap(old_labels, codes, points.astype(np.float64), n_lost)
    sizes = np.bincount(codes[codes >= 0], minlength=overlap.shared_counts.shape[1])
    registry = previous.class_registry
    known = registry.filter(pc.equal(registry["run_id"], run_id)).sort_by("cluster_label")
    if len(known):
        ids = known["class_id"].to_pylist()
    else:
        ids = _assign_class_ids(match_classes(overlap), old_ids, sizes, registry)
        rows = [(class_id, run_id, label, int(sizes[label])) for label, class_id in enumerate(ids)]
        registry = pa.concat_tables([registry, _build_registry(rows)])
    predecessors = np.array(
        [old_ids.index(class_id) if class_id in old_ids else -1 for class_id in ids], np.int64
    )
    change_types = classify_changes(overlap, predecessors)
    previous_ids = pa.array(old_ids, pa.string()).take(pa.array(old_labels, mask=old_labels < 0))
    changes = _build_changes(overlap, predecessors, change_types, old_ids, ids)
    return TrackedClasses(ids, change_types.new_classes, previous_ids, changes, registry)


def _match_spectra(
    object_ids: pa.ChunkedArray, previous: PublishedClasses, old_ids: Sequence[str]
) -> tuple[Ints, Ints]:
    """Return the old label of each spectrum (-1 noise, -2 not contained) and how many each old class lost."""
    old_codes = pc.fill_null(pc.index_in(previous.class_ids, pa.array(old_ids, pa.string())), -1)
    codes = old_codes.to_numpy().astype(np.int64)
    rows = pc.fill_null(pc.index_in(object_ids, previous.object_ids), -1).to_numpy()
    old_labels = np.where(rows >= 0, codes[rows] if len(codes) else -2, -2)
    is_lost = np.ones(len(codes), bool)
    is_lost[rows[rows >= 0]] = False
    return old_labels, np.bincount(codes[is_lost & (codes >= 0)], minlength=len(old_ids))


def _assign_class_ids(
    predecessors: Ints, previous_ids: Sequence[str], sizes: Ints, class_registry: pa.Table
) -> list[str]:
    """Return the identifier of each class: that of its predecessor, otherwise an unused one by size."""
    last = max(
        (int(class_id.removeprefix("c-")) for class_id in class_registry["class_id"].to_pylist()), default=0
    )
    ids: list[str] = [str(previous_ids[int(i)]) if i >= 0 else "" for i in predecessors]
    for label in np.argsort(-sizes, kind="stable"):
        if not ids[label]:
            last += 1
            ids[label] = f"c-{last:04d}"
    return ids


def _build_registry(rows: Sequence[tuple[str, str, int, int]]) -> pa.Table:
    """Build a table of `CLASS_IDS_SCHEMA` from its rows."""
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
    """Build the table of changes: a row per pair of classes that share spectra, and per new or gone class."""
    n_old, n_new = overlap.shared_counts.shape
    rows: list[dict[str, Any]] = []
    for i, j in np.ndindex(overlap.counts.shape):
        n = int(overlap.counts[i, j])
        change = _change_type(overlap, predecessors, change_types, i, j)
        if not change or (n == 0 and change not in ("new", "gone")):
            continue
        is_pair = i < n_old and j < n_new
        row = {
            "class_id": ids[j] if j < n_new else None,
            "previous_class_id": previous_ids[i] if i < n_old else None,
            "change": change,
            "n_spectra": n,
            "jaccard": overlap.jaccard[i, j] if is_pair else None,
            "share_of_previous": overlap.fraction_of_old[i, j] if is_pair else None,
            "share_of_class": overlap.fraction_of_new[i, j] if is_pair else None,
            "distance": overlap.distance[i, j] if is_pair else None,
        }
        rows.append(row | {"reason": _describe_change(row, ids)})
    rows.sort(key=lambda row: (-row["n_spectra"], row["class_id"] or "", row["previous_class_id"] or ""))
    return schema.build_table(
        {c.name: [row[c.name] for row in rows] for c in schema.CLASS_CHANGES_SCHEMA},
        schema.CLASS_CHANGES_SCHEMA,
        {},
    )


def _change_type(overlap: ClassOverlap, predecessors: Ints, change_types: ChangeTypes, i: int, j: int) -> str:
    """Return the type of change from an old class to a new one; empty if neither is a class."""
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
    """Return the sentence in column ``reason``."""
    new, old, n = row["class_id"], row["previous_class_id"], row["n_spectra"]
    if new and old:
        of_old, of_new = row["share_of_previous"], row["share_of_class"]
        outcome = {
            "kept": f"class centers are {row['distance']:.2f} radii apart",
            "split": f"{old} {'continues' if old in ids else 'ends'}",
            "merged": f"{old} ends",
            "moved": "most of either class is elsewhere"
            if max(of_old, of_new) < MAJORITY_FRACTION
            else "both classes continue",
        }[row["change"]]
        return f"{of_old:.0%} of {old}, {of_new:.0%} of the spectra of {new} that existed before; {outcome}"
    return {
        "new": f"continues no class; {n} of its spectra were not in the previous run",
        "added": f"{n} spectra were not in the previous run",
        "from noise": f"{n} spectra were in no class",
        "gone": f"no class continues it; {n} of its spectra are not in this run",
        "withdrawn": f"{n} spectra are not in this run",
        "to noise": f"{n} spectra are now in no class",
    }[row["change"]]
