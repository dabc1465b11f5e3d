"""Majority decisions on annotations: the label of a spectrum, its mark, and the name of a class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from distspec.core.records import compute_fingerprint
from distspec.labels.annotations import INTEREST_LABELS, current_annotations, read_annotations

MIN_LABELS_TO_NAME = 3
"""Number of equal labels of its spectra, if they are the majority, that name a class."""
CONSENSUS_SCHEMA = pa.schema(
    [
        pa.field("object_id", pa.string()),
        pa.field("human_label", pa.string()),
        pa.field("n_annotators", pa.int64()),
        pa.field("n_agreeing", pa.int64()),
        pa.field("tied", pa.list_(pa.string())),
    ]
)
"""Columns of `consensus_labels`."""


def consensus_labels(annotations: pa.Table) -> pa.Table:
    """Determine the majority label of each spectrum.

    Parameters
    ----------
    annotations : Table
        Result of `current_annotations`: one row per person and spectrum.

    Returns
    -------
    Table
        Columns `CONSENSUS_SCHEMA`: the label (null if tied), the number of annotators and of those who gave
        the most frequent label, and the labels that are tied.

    Examples
    --------
    >>> rows = pa.table({"object_id": ["a", "a", "a", "b", "b"], "human_label": list("xyxxy")})
    >>> consensus_labels(rows).select(["human_label", "n_annotators", "tied"]).to_pylist()
    [{'human_label': 'x', 'n_annotators': 3, 'tied': []},
     {'human_label': None, 'n_annotators': 2, 'tied': ['x', 'y']}]
    """
    counts_by_id: dict[str, Counter[str]] = {}
    names, labels = annotations["object_id"].to_pylist(), annotations["human_label"].to_pylist()
    for name, label in zip(names, labels, strict=True):
        counts_by_id.setdefault(name, Counter())[label] += 1
    rows: list[dict[str, Any]] = []
    for name, counts in sorted(counts_by_id.items()):
        n_agreeing = max(counts.values())
        most_frequent = sorted(label for label, n in counts.items() if n == n_agreeing)
        is_unique = len(most_frequent) == 1
        rows.append(
            {
                "object_id": name,
                "human_label": most_frequent[0] if is_unique else None,
                "n_annotators": counts.total(),
                "n_agreeing": n_agreeing,
                "tied": [] if is_unique else most_frequent,
            }
        )
    return pa.Table.from_pylist(rows, CONSENSUS_SCHEMA)


def read_marks(root: str) -> dict[str, bool]:
    """Read which spectra are marked, and whether the majority marks them as interesting.

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project.

    Returns
    -------
    dict of str to bool
        By ``object_id``, in order of time; True if tied.
    """
    balance: dict[str, int] = {}
    for row in current_annotations(read_annotations(root), interest=True).to_pylist():
        vote = 1 if row["human_label"] == INTEREST_LABELS[0] else -1
        balance[row["object_id"]] = balance.get(row["object_id"], 0) + vote
    return {name: votes >= 0 for name, votes in balance.items()}


def format_class_name(galaxy_type: str, labels: Sequence[str | None]) -> str:
    """Return the name of a class: its suggested galaxy type, and the majority label of its spectra.

    Parameters
    ----------
    galaxy_type : str
        Suggested type of the class; "unknown" is left out if there is a label.
    labels : sequence of str or None
        Labels of the spectra of the class.

    Returns
    -------
    str

    Examples
    --------
    >>> format_class_name("EELG", ["LAE", None, "LAE", "LAE", "x"])
    'EELG; labeled: LAE'
    >>> format_class_name("unknown", ["LAE"] * 3), format_class_name("EELG", ["LAE", None])
    ('LAE', 'EELG')
    """
    counts = Counter(label for label in labels if label is not None)
    majority = [label for label, n in counts.items() if n >= MIN_LABELS_TO_NAME and 2 * n > counts.total()]
    if not majority or majority[0] == galaxy_type:
        return galaxy_type
    return majority[0] if galaxy_type == "unknown" else f"{galaxy_type}; labeled: {majority[0]}"


def labels_checksum(root: str) -> str:
    """Return a checksum of the majority labels, "" without labels.

    Parameters
    ----------
    root : str
        Root of the project.

    Returns
    -------
    str
    """
    labels = consensus_labels(current_annotations(read_annotations(root)))
    if not len(labels):
        return ""
    return compute_fingerprint(labels.select(["object_id", "human_label"]).to_pylist())
