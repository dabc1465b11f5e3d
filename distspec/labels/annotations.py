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
from distspec.core.records import fingerprint
from distspec.io.files import get, get_versioned, names, put_table, remove, swap
from distspec.io.paths import join


def marked(root: str) -> dict[str, bool]:
    """Return which spectra people have marked, in order of time, and whether as interesting.

    Where people differ, as most of them say; interesting where as many say the one as the other.
    """
    said: dict[str, int] = {}
    for row in standing(history(root), marks=True).to_pylist():
        vote = INTERESTING if row["human_label"] == MARKS[0] else ORDINARY
        said[row["object_id"]] = said.get(row["object_id"], 0) + vote
    return {name: votes >= 0 for name, votes in said.items()}


COMPACTED = "labels.parquet"
MARKS = ("interesting", "ordinary")
"""Labels that say nothing of classes: whether an anomaly is worth a look. One spectrum may have both."""
TRIES = 10
NAMING = 3
"""A class is named by so many of its spectra's labels, if they are most."""
VERDICTS = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("object_id", "human_label")),
        *(pa.field(name, pa.int64()) for name in ("people", "agree")),
        pa.field("tied", pa.list_(pa.string())),
    ]
)


class Said(NamedTuple):
    """What somebody says of a spectrum; an empty label takes the last one back."""

    object_id: str
    human_label: str
    who: str = ""
    note: str = ""
    when: datetime | None = None


def labels_url(root: str) -> str:
    """Return the folder of what people said."""
    return join(root, "labels")


def add(root: str, said: Sequence[Said], when: datetime | None = None) -> pa.Table:
    """Keep what was said, in one new file; return its rows.

    Parameters
    ----------
    root : str
    said : sequence of Said
    when : datetime, optional
        Of what does not say when itself; now, if not given.

    Raises
    ------
    ValueError
        When a row names no spectrum.
    """
    if any(not each.object_id for each in said):
        raise ValueError("a label without an object_id: every row must name its spectrum")
    at = when or datetime.now(UTC)
    columns = {name: [getattr(each, name) for each in said] for name in Said._fields}
    columns["when"] = [each.when or at for each in said]
    table = schema.conform(columns, schema.LABELS, {})
    put_table(join(labels_url(root), f"{at:%Y%m%dT%H%M%S}-{uuid.uuid4().hex}.parquet"), table)
    return table


def history(root: str) -> pa.Table:
    """Return all that was ever said, in order of time."""
    for _ in range(TRIES):
        try:
            return _read(root, names(labels_url(root)))
        except FileNotFoundError:  # compacted while we read
            continue
    raise TimeoutError(f"{labels_url(root)}: its files changed {TRIES} times while they were read")


def _read(root: str, files: Sequence[str]) -> pa.Table:
    empty = schema.conform({column.name: [] for column in schema.LABELS}, schema.LABELS, {})
    tables = [pq.read_table(io.BytesIO(get(join(labels_url(root), file)))) for file in files if _ours(file)]
    rows = pa.concat_tables([empty, *(table.cast(empty.schema) for table in tables)])
    # A file and its compaction may both be there for a moment.
    return rows.group_by(empty.column_names).aggregate([]).cast(empty.schema).sort_by("when")


def _ours(file: str) -> bool:
    return file.endswith(".parquet") and not file.startswith(".")


def standing(said: pa.Table, marks: bool = False) -> pa.Table:
    """Return each person's last word on each spectrum: of its class, or (`marks`) of its interest.

    Parameters
    ----------
    said : Table
        `history`.
    marks : bool

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
    for i, row in enumerate(said.to_pylist()):
        if row["human_label"] == "":  # takes back both
            last.pop((row["object_id"], row["who"]), None)
        elif (row["human_label"] in MARKS) == marks:
            last[row["object_id"], row["who"]] = i
    return said.take(pa.array(sorted(last.values()), pa.int64()))


def verdicts(said: pa.Table) -> pa.Table:
    """Return what most people call each spectrum: object_id, human_label, people, agree, tied.

    ``human_label`` is null where two labels have as many people; ``tied`` then names them.

    Parameters
    ----------
    said : Table
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
    for name, label in zip(said["object_id"].to_pylist(), said["human_label"].to_pylist(), strict=True):
        votes.setdefault(name, Counter())[label] += 1
    rows: list[dict[str, Any]] = []
    for name, counts in sorted(votes.items()):
        agree = max(counts.values())
        top = sorted(label for label, n in counts.items() if n == agree)
        label, tied = (top[0], []) if len(top) == 1 else (None, top)
        people = counts.total()
        rows.append({"object_id": name, "human_label": label, "people": people, "agree": agree, "tied": tied})
    return pa.Table.from_pylist(rows, VERDICTS)


def class_name(kind: str, labels: Sequence[str | None]) -> str:
    """Return what a class is called: its suggested kind, and what most of its labelled spectra are called.

    Parameters
    ----------
    kind : str
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
    called = [label for label, n in counts.items() if n >= NAMING and 2 * n > counts.total()]
    if not called or called[0] == kind:
        return kind
    return called[0] if kind == "unknown" else f"{kind}; people: {called[0]}"


def digest(root: str) -> str:
    """Return what changes when a spectrum's verdict does; "" without any."""
    found = verdicts(standing(history(root)))
    return fingerprint(found.select(["object_id", "human_label"]).to_pylist()) if len(found) else ""


def compact(root: str) -> int:
    """Put what was said into one file, in place of many; return how many rows it has.

    Two that compact at once: one does, the other leaves its files for the next time.
    """
    folder = labels_url(root)
    before = get_versioned(join(folder, COMPACTED))
    files = names(folder)
    try:
        rows = _read(root, files)
    except FileNotFoundError:  # another is at it
        return 0
    buffer = io.BytesIO()
    pq.write_table(rows, buffer, compression="zstd")
    if swap(join(folder, COMPACTED), buffer.getvalue(), before and before[1]) is None:
        return 0
    for file in files:
        if _ours(file) and file != COMPACTED:
            remove(join(folder, file))
    return len(rows)
