"""Annotations: labels and marks that people give to spectra, in small files that are compacted now and then.

::

    root/labels/labels.parquet              compacted annotations
    root/labels/<time>-<random>.parquet     later annotations, one file for each call

Every call adds a file, so that people can annotate at the same time. A later annotation replaces an earlier
one of the same person and spectrum.
"""

from __future__ import annotations

import io
import unicodedata
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from distspec.core import schema
from distspec.core.errors import LabelError, StorageError
from distspec.io.files import (
    compare_and_swap,
    delete_file,
    list_files,
    read_bytes,
    read_versioned,
    write_table,
)
from distspec.io.paths import join_url

COMPACTED_FILE = "labels.parquet"
"""Name of the file of compacted annotations."""
INTEREST_LABELS = ("interesting", "ordinary")
"""Marks: whether an anomaly deserves attention. A spectrum can have a mark and a label of its class."""
MAX_LABEL_LENGTH = 100
"""Largest number of characters of a label."""
MAX_READ_ATTEMPTS = 10
"""Repetitions of a read during which files are compacted."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """Label or mark that a person gives to a spectrum.

    Attributes
    ----------
    object_id : str
        The spectrum.
    human_label : str
        Name of a class, or one of `INTEREST_LABELS`; "" withdraws the person's label and mark.
    who : str
        Name of the annotator.
    note : str
        Comment.
    when : datetime or None
        Time of the annotation; None for the time at which it is added.
    """

    object_id: str
    human_label: str
    who: str = ""
    note: str = ""
    when: datetime | None = None


def annotations_url(root: str) -> str:
    """Return the URL of the folder of annotations.

    Parameters
    ----------
    root : str
        Root of the project.

    Returns
    -------
    str
    """
    return join_url(root, "labels")


def normalize_label(label: str, existing: Iterable[str] = ()) -> str:
    """Return a label without surrounding blanks and in Unicode's normal form C, or refuse it.

    Parameters
    ----------
    label : str
        Label or mark; "" withdraws.
    existing : iterable of str
        Labels in use. One of them is accepted as it is; a label that differs from one of them, or from a
        mark, only in case or in compatibility characters is refused.

    Returns
    -------
    str

    Raises
    ------
    LabelError
        If the label is blank, too long, has characters that cannot be printed, or is another spelling of an
        existing label.

    Examples
    --------
    >>> normalize_label(" LRD ")
    'LRD'
    """
    in_use = {*INTEREST_LABELS, *existing}
    if label == "" or label in in_use:
        return label
    name = unicodedata.normalize("NFC", label.strip())
    if not name:
        raise LabelError(f"human_label {label!r} is blank: give a name, or an empty label to withdraw")
    if len(name) > MAX_LABEL_LENGTH:
        raise LabelError(
            f"human_label {name[:20]!r}… has {len(name)} characters; the limit is {MAX_LABEL_LENGTH}"
        )
    if not name.isprintable():
        raise LabelError(f"human_label {name!r} has characters that cannot be printed")
    if name not in in_use:
        folded = _fold(name)
        for other in sorted(in_use):
            if _fold(other) == folded:
                raise LabelError(f"human_label {name!r} is another spelling of {other!r}: use {other!r}")
    return name


def _fold(label: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", label).casefold())


def normalize_annotations(annotations: Sequence[Annotation], existing: Iterable[str]) -> list[Annotation]:
    """Return annotations with normalized labels; see `normalize_label`.

    Parameters
    ----------
    annotations : sequence of Annotation
        Annotations, whose labels must not be spellings of each other either.
    existing : iterable of str
        Labels in use.

    Returns
    -------
    list of Annotation

    Raises
    ------
    LabelError
        If a label is invalid, or an annotation has no ``object_id``.
    """
    in_use, names = set(existing), dict[str, str]()
    for annotation in annotations:
        if not annotation.object_id:
            raise LabelError("a label has no object_id: give the identifier of its spectrum")
        if any("\ud800" <= character <= "\udfff" for character in annotation.who + annotation.note):
            raise LabelError(f"who or note of {annotation.object_id!r} is not valid Unicode: correct it")
        if annotation.human_label not in names:
            names[annotation.human_label] = normalize_label(annotation.human_label, in_use)
            in_use.add(names[annotation.human_label])
    return [replace(annotation, human_label=names[annotation.human_label]) for annotation in annotations]


def read_label_spellings(root: str) -> set[str]:
    """Return the labels that are in use under a root.

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project.

    Returns
    -------
    set of str
    """
    return set(current_annotations(read_annotations(root))["human_label"].to_pylist())


def add_annotations(
    root: str,
    annotations: Sequence[Annotation],
    timestamp: datetime | None = None,
    existing: Iterable[str] | None = None,
) -> pa.Table:
    """Write annotations to a new file.

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project.
    annotations : sequence of Annotation
        The annotations.
    timestamp : datetime, optional
        Time of those that have none; default now.
    existing : iterable of str, optional
        Labels in use, of which no other spelling is accepted; by default read from the root.

    Returns
    -------
    Table
        The rows written, with the columns `distspec.core.schema.ANNOTATIONS_SCHEMA`.

    Raises
    ------
    LabelError
        If an annotation has no ``object_id`` or an invalid label; none is written.
    """
    annotations = normalize_annotations(
        annotations, read_label_spellings(root) if existing is None else existing
    )
    now = timestamp or datetime.now(UTC)
    columns: dict[str, list[Any]] = {
        name: [getattr(annotation, name) for annotation in annotations]
        for name in ("object_id", "human_label", "who", "note")
    }
    columns["when"] = [annotation.when or now for annotation in annotations]
    table = schema.build_table(columns, schema.ANNOTATIONS_SCHEMA, {})
    file_name = f"{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex}.parquet"
    write_table(join_url(annotations_url(root), file_name), table)
    return table


def read_annotations(root: str) -> pa.Table:
    """Read all annotations, including superseded ones.

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project.

    Returns
    -------
    Table
        In order of time, with the columns `distspec.core.schema.ANNOTATIONS_SCHEMA`.

    Raises
    ------
    StorageError
        If the files are compacted again and again during the read.
    """
    for _ in range(MAX_READ_ATTEMPTS):
        try:
            return _read_files(root, list_files(annotations_url(root)))
        except FileNotFoundError:  # the file was compacted after it was listed
            continue
    raise StorageError(
        f"{annotations_url(root)}: files changed during {MAX_READ_ATTEMPTS} attempts to read them; try again"
    )


def _read_files(root: str, files: Sequence[str]) -> pa.Table:
    """Return the distinct rows of files in order of time."""
    columns = {column.name: [] for column in schema.ANNOTATIONS_SCHEMA}
    empty = schema.build_table(columns, schema.ANNOTATIONS_SCHEMA, {})
    tables = [
        pq.read_table(io.BytesIO(read_bytes(join_url(annotations_url(root), file))))
        for file in files
        if _is_annotation_file(file)
    ]
    rows = pa.concat_tables([empty, *(table.cast(empty.schema) for table in tables)])
    # A file and the compacted file that contains its rows may exist at the same time.
    return rows.group_by(empty.column_names).aggregate([]).cast(empty.schema).sort_by("when")


def _is_annotation_file(file: str) -> bool:
    return file.endswith(".parquet") and not file.startswith(".")


def current_annotations(annotations: pa.Table, interest: bool = False) -> pa.Table:
    """Select each person's latest label, or mark, of each spectrum.

    Parameters
    ----------
    annotations : Table
        Result of `read_annotations`.
    interest : bool
        Select marks (`INTEREST_LABELS`) instead of labels.

    Returns
    -------
    Table
        The selected rows.

    Examples
    --------
    >>> table = schema.build_table(
    ...     {
    ...         "object_id": ["a", "a", "b", "a"],
    ...         "human_label": ["LRD", "interesting", "LAE", "EELG"],
    ...         "who": ["ann"] * 4,
    ...         "when": [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3, 4)],
    ...         "note": [""] * 4,
    ...     },
    ...     schema.ANNOTATIONS_SCHEMA,
    ...     {},
    ... )
    >>> current_annotations(table).select(["object_id", "human_label"]).to_pylist()
    [{'object_id': 'b', 'human_label': 'LAE'}, {'object_id': 'a', 'human_label': 'EELG'}]
    >>> current_annotations(table, interest=True)["object_id"].to_pylist()
    ['a']
    """
    latest: dict[tuple[str, str], int] = {}
    for i, row in enumerate(annotations.to_pylist()):
        if row["human_label"] == "":  # withdraws label and mark
            latest.pop((row["object_id"], row["who"]), None)
        elif (row["human_label"] in INTEREST_LABELS) == interest:
            latest[row["object_id"], row["who"]] = i
    return annotations.take(pa.array(sorted(latest.values()), pa.int64()))


def compact_annotations(root: str) -> int:
    """Merge all annotation files into one.

    If two processes compact at the same time, one succeeds and the other changes nothing.

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project.

    Returns
    -------
    int
        Number of rows of the compacted file; 0 if another process compacted.
    """
    folder = annotations_url(root)
    before = read_versioned(join_url(folder, COMPACTED_FILE))
    files = list_files(folder)
    try:
        rows = _read_files(root, files)
    except FileNotFoundError:
        return 0
    buffer = io.BytesIO()
    pq.write_table(rows, buffer, compression="zstd")
    if compare_and_swap(join_url(folder, COMPACTED_FILE), buffer.getvalue(), before and before[1]) is None:
        return 0
    for file in files:
        if _is_annotation_file(file) and file != COMPACTED_FILE:
            delete_file(join_url(folder, file))
    return len(rows)
