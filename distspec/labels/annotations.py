"""What people say of spectra: labels and marks, in small files that are added and, now and then, compacted.

root/labels/labels.parquet      what was compacted
root/labels/<when>-<random>.parquet     what was said since
"""

from __future__ import annotations

import io
import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from distspec.anomaly.feedback import INTERESTING, ORDINARY
from distspec.core import schema
from distspec.core.records import compute_fingerprint
from distspec.io.files import (
    compare_and_swap,
    delete_file,
    list_files,
    read_bytes,
    read_versioned,
    write_table,
)
from distspec.io.paths import join_url


def read_marks(root: str) -> dict[str, bool]:
    """Return which spectra people have marked, in order of time, and whether as interesting.

    Where people differ, as most of them say; interesting where as many say the one as the other.
    """
    said: dict[str, int] = {}
    for row in current_annotations(read_annotations(root), interest=True).to_pylist():
        vote = INTERESTING if row["human_label"] == INTEREST_LABELS[0] else ORDINARY
        said[row["object_id"]] = said.get(row["object_id"], 0) + vote
    return {name: votes >= 0 for name, votes in said.items()}


COMPACTED_FILE = "labels.parquet"
INTEREST_LABELS = ("interesting", "ordinary")
"""Labels that say nothing of classes: whether an anomaly is worth a look. One spectrum may have both."""
MAX_READ_ATTEMPTS = 10
MIN_LABELS_TO_NAME = 3
"""A class is named by so many of its spectra's labels, if they are most."""
CONSENSUS_SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("object_id", "human_label")),
        *(pa.field(name, pa.int64()) for name in ("people", "agree")),
        pa.field("tied", pa.list_(pa.string())),
    ]
)


class Annotation(NamedTuple):
    """What somebody says of a spectrum; an empty label takes the last one back."""

    object_id: str
    human_label: str
    who: str = ""
    note: str = ""
    when: datetime | None = None


def annotations_url(root: str) -> str:
    """Return the folder of what people said."""
    return join_url(root, "labels")


def add_annotations(
    root: str, annotations: Sequence[Annotation], timestamp: datetime | None = None
) -> pa.Table:
    """Keep what was said, in one new file; return its rows.

    Parameters
    ----------
    root : str
    annotations : sequence of Said
    timestamp : datetime, optional
        Of what does not say when itself; now, if not given.

    Raises
    ------
    ValueError
        When a row names no spectrum.
    """
    if any(not each.object_id for each in annotations):
        raise ValueError("a label without an object_id: every row must name its spectrum")
    at = timestamp or datetime.now(UTC)
    columns = {name: [getattr(each, name) for each in annotations] for name in Annotation._fields}
    columns["when"] = [each.when or at for each in annotations]
    table = schema.build_table(columns, schema.ANNOTATIONS_SCHEMA, {})
    write_table(join_url(annotations_url(root), f"{at:%Y%m%dT%H%M%S}-{uuid.uuid4().hex}.parquet"), table)
    return table


def read_annotations(root: str) -> pa.Table:
    """Return all that was ever said, in order of time."""
    for _ in range(MAX_READ_ATTEMPTS):
        try:
            return _read_files(root, list_files(annotations_url(root)))
        except FileNotFoundError:  # compacted while we read
            continue
    raise TimeoutError(
        f"{annotations_url(root)}: its files changed {MAX_READ_ATTEMPTS} times while they were read"
    )


def _read_files(root: str, files: Sequence[str]) -> pa.Table:
    empty = schema.build_table(
        {column.name: [] for column in schema.ANNOTATIONS_SCHEMA}, schema.ANNOTATIONS_SCHEMA, {}
    )
    tables = [
        pq.read_table(io.BytesIO(read_bytes(join_url(annotations_url(root), file))))
        for file in files
        if _is_annotation_file(file)
    ]
    rows = pa.concat_tables([empty, *(table.cast(empty.schema) for table in tables)])
    # A file and its compaction may both be there for a moment.
    return rows.group_by(empty.column_names).aggregate([]).cast(empty.schema).sort_by("when")


def _is_annotation_file(file: str) -> bool:
    return file.endswith(".parquet") and not file.startswith(".")


def current_annotations(annotations: pa.Table, interest: bool = False) -> pa.Table:
    """Return each person's last word on each spectrum: of its class, or (`interest`) of its interest.

    Parameters
    ----------
    annotations : Table
        `history`.
    interest : bool

    Examples
    --------
    >>> table = schema.conform(
    ...     {
    ...         "object_id": ["a", "a", "b", "a"],
    ...         "human_label": ["LRD", "interesting", "LAE", "EELG"],
    ...         "who": ["ann"] * 4,
    ...         "when": [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3, 4)],
    ...         "note": [""] * 4,
    ...     },
    ...     schema.LABELS,
    ...     {},
    ... )
    >>> standing(table).select(["object_id", "human_label"]).to_pylist()
    [{'object_id': 'b', 'human_label': 'LAE'}, {'object_id': 'a', 'human_label': 'EELG'}]
    >>> standing(table, marks=True)["object_id"].to_pylist()
    ['a']
    """
    last: dict[tuple[str, str], int] = {}
    for i, row in enumerate(annotations.to_pylist()):
        if row["human_label"] == "":  # takes back both
            last.pop((row["object_id"], row["who"]), None)
        elif (row["human_label"] in INTEREST_LABELS) == interest:
            last[row["object_id"], row["who"]] = i
    return annotations.take(pa.array(sorted(last.values()), pa.int64()))


def consensus_labels(annotations: pa.Table) -> pa.Table:
    """Return what most people call each spectrum: object_id, human_label, people, agree, tied.

    ``human_label`` is null where two labels have as many people; ``tied`` then names them.

    Parameters
    ----------
    annotations : Table
        `standing`: a row a person and spectrum.

    Examples
    --------
    >>> said = pa.table({"object_id": ["a", "a", "a", "b", "b"], "human_label": list("xyxxy")})
    >>> verdicts(said).to_pylist()[0]
    {'object_id': 'a', 'human_label': 'x', 'people': 3, 'agree': 2, 'tied': []}
    >>> verdicts(said).to_pylist()[1]
    {'object_id': 'b', 'human_label': None, 'people': 2, 'agree': 1, 'tied': ['x', 'y']}
    """
    votes: dict[str, Counter[str]] = {}
    for name, label in zip(
        annotations["object_id"].to_pylist(), annotations["human_label"].to_pylist(), strict=True
    ):
        votes.setdefault(name, Counter())[label] += 1
    rows: list[dict[str, Any]] = []
    for name, counts in sorted(votes.items()):
        agree = max(counts.values())
        top = sorted(label for label, n in counts.items() if n == agree)
        label, tied = (top[0], []) if len(top) == 1 else (None, top)
        people = counts.total()
        rows.append({"object_id": name, "human_label": label, "people": people, "agree": agree, "tied": tied})
    return pa.Table.from_pylist(rows, CONSENSUS_SCHEMA)


def format_class_name(galaxy_type: str, labels: Sequence[str | None]) -> str:
    """Return what a class is called: its suggested kind, and what most of its labelled spectra are called.

    Parameters
    ----------
    galaxy_type : str
        "unknown" says nothing.
    labels : of its spectra, None of most

    Examples
    --------
    >>> class_name("EELG", ["LAE", None, "LAE", "LAE", "x"]), class_name("unknown", ["LAE"] * 3)
    ('EELG; people: LAE', 'LAE')
    >>> class_name("EELG", ["LAE", None])
    'EELG'
    """
    counts = Counter(label for label in labels if label is not None)
    called = [label for label, n in counts.items() if n >= MIN_LABELS_TO_NAME and 2 * n > counts.total()]
    if not called or called[0] == galaxy_type:
        return galaxy_type
    return called[0] if galaxy_type == "unknown" else f"{galaxy_type}; people: {called[0]}"


def labels_checksum(root: str) -> str:
    """Return what changes when a spectrum's verdict does; "" without any."""
    found = consensus_labels(current_annotations(read_annotations(root)))
    return compute_fingerprint(found.select(["object_id", "human_label"]).to_pylist()) if len(found) else ""


def compact_annotations(root: str) -> int:
    """Put what was said into one file, in place of many; return how many rows it has.

    Two that compact at once: one does, the other leaves its files for the next time.
    """
    folder = annotations_url(root)
    before = read_versioned(join_url(folder, COMPACTED_FILE))
    files = list_files(folder)
    try:
        rows = _read_files(root, files)
    except FileNotFoundError:  # another is at it
        return 0
    buffer = io.BytesIO()
    pq.write_table(rows, buffer, compression="zstd")
    if compare_and_swap(join_url(folder, COMPACTED_FILE), buffer.getvalue(), before and before[1]) is None:
        return 0
    for file in files:
        if _is_annotation_file(file) and file != COMPACTED_FILE:
            delete_file(join_url(folder, file))
    return len(rows)
