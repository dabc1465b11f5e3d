"""Import of labels from a table file such as CSV or Parquet; every row is checked before any is added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pyarrow as pa

from distspec.core.arrow import pc
from distspec.core.errors import ArchiveError, LabelError
from distspec.core.text import unescape_formula
from distspec.io.cell_text import decode_text
from distspec.io.files import read_bytes
from distspec.io.table_formats import parse_table
from distspec.labels.annotations import INTEREST_LABELS, Annotation, current_annotations, normalize_label

REQUIRED_COLUMNS = ("object_id", "human_label")
MARK_COLUMNS = {"who": "mark_who", "when": "mark_when", "note": "mark_note"}
"""Columns of the mark that an export has beside those of the label."""
OPTIONAL_COLUMNS = ("who", "when", "note", "mark", *MARK_COLUMNS.values())
LABEL_COLUMNS = (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS)
PARQUET_SUFFIXES = (".parquet", ".pq")
"""Endings of the names of Parquet files, whose texts are read as they are."""
ENCODED_SUFFIXES = (".fits", ".fit", ".vot", ".votable", ".xml", ".ecsv")
"""Endings of files whose texts are encoded by `encode_text`; in other tables, formulas are escaped."""
MAX_LISTED_ROWS = 5
"""Number of invalid rows that an error message lists."""


class UnknownSpectrum(NamedTuple):
    """A row of the file whose spectrum is not in the store.

    Attributes
    ----------
    line : int
        Line of the file; its header is line 1.
    object_id : str
        The unknown identifier.
    """

    line: int
    object_id: str


@dataclass(frozen=True)
class ImportedLabels:
    """Content of a file of labels.

    Attributes
    ----------
    annotations : list of Annotation
        Labels and marks of spectra in the store; an empty label withdraws.
    unknown_ids : list of UnknownSpectrum
        Rows whose spectrum is not in the store.
    n_blank : int
        Number of rows without label and mark, which do nothing.
    n_unchanged : int
        Number of labels and marks that the root had already.
    """

    annotations: list[Annotation]
    unknown_ids: list[UnknownSpectrum]
    n_blank: int = 0
    n_unchanged: int = 0

    @property
    def n_retracted(self) -> int:
        """Number of annotations that withdraw earlier ones."""
        return sum(not annotation.human_label for annotation in self.annotations)


def read_labels(
    url: str, known_ids: pa.Array | pa.ChunkedArray, default_annotator: str, retract: bool = False
) -> ImportedLabels:
    """Read labels from a table file.

    Parameters
    ----------
    url : str
        File with the columns ``object_id`` and ``human_label`` and, optionally, ``who``, ``when`` (ISO
        8601, UTC unless it states an offset), ``note`` and ``mark``; the mark may have its own ``mark_who``,
        ``mark_when`` and ``mark_note``. A row without label and mark does nothing, unless ``retract`` is
        set. In CSV, an apostrophe that escapes a formula (`distspec.core.text.escape_formula`) is removed; in
        FITS, VOTable and ECSV, JSON strings are decoded (`distspec.io.cell_text.encode_text`).
    known_ids : Array of str, shape (n_spectra,)
        Identifiers of the spectra in the store.
    default_annotator : str
        Annotator of rows without ``who``.
    retract : bool
        Whether a row without label and mark withdraws the annotator's earlier label and mark.

    Returns
    -------
    ImportedLabels

    Raises
    ------
    NotFoundError
        If the file does not exist.
    LabelError
        If the file is not such a table, or a row is invalid; the message lists lines and values.
    """
    table = _read_table(url)
    missing = [name for name in REQUIRED_COLUMNS if name not in table.column_names]
    if missing:
        raise LabelError(
            f"{url} has no column {' and no column '.join(missing)}; its columns are "
            f"{', '.join(table.column_names)}. Required are {', '.join(REQUIRED_COLUMNS)}, optional are "
            f"{', '.join(OPTIONAL_COLUMNS)}"
        )
    columns = {
        name: _column_as_text(table, name, url) for name in LABEL_COLUMNS if name in table.column_names
    }
    if not url.lower().endswith(PARQUET_SUFFIXES):
        decode = decode_text if url.lower().endswith(ENCODED_SUFFIXES) else unescape_formula
        columns = {name: [decode(text) for text in values] for name, values in columns.items()}
    rows = [{name: values[i] for name, values in columns.items()} for i in range(len(table))]
    problems = [f"line {i + 2}: {problem}" for i, row in enumerate(rows) if (problem := _find_problem(row))]
    if problems:
        more = f"; and {len(problems) - MAX_LISTED_ROWS} more" if len(problems) > MAX_LISTED_ROWS else ""
        raise LabelError(
            f"{url}: {'; '.join(problems[:MAX_LISTED_ROWS])}{more}. No label was added: correct the file"
        )
    built = [_build_annotations(row, default_annotator, retract) for row in rows]
    lines = [i + 2 for i, group in enumerate(built) for _ in group]
    annotations = [annotation for group in built for annotation in group]
    names = pa.array([annotation.object_id for annotation in annotations], pa.string())
    is_known = pc.is_in(names, known_ids.unique()).to_pylist()
    return ImportedLabels(
        [annotation for annotation, known in zip(annotations, is_known, strict=True) if known],
        list(
            dict.fromkeys(
                UnknownSpectrum(line, annotation.object_id)
                for line, annotation, known in zip(lines, annotations, is_known, strict=True)
                if not known
            )
        ),
        n_blank=sum(not group for group in built),
    )


def select_new(annotations: Sequence[Annotation], known: pa.Table) -> list[Annotation]:
    """Leave out labels and marks that would change nothing.

    Parameters
    ----------
    annotations : sequence of Annotation
        Labels and marks to add.
    known : Table
        All annotations of the root, as `distspec.labels.annotations.read_annotations` returns them.

    Returns
    -------
    list of Annotation
        Those that were not made before: with a time, the same annotation; without one, the same as the
        annotator's latest of the spectrum. An annotation without a time and note keeps the note.
    """
    rows = known.to_pylist()
    made = {(_identity(row), row["note"] or "", row["when"]) for row in rows}
    current = [row for marks in (False, True) for row in current_annotations(known, marks).to_pylist()]
    latest = {(_identity(row), note) for row in current for note in ("", row["note"] or "")}
    annotated = {(row["object_id"], row["who"]) for row in current}

    def is_new(annotation: Annotation) -> bool:
        identity = annotation.object_id, annotation.human_label, annotation.who
        if annotation.when is not None:
            return (identity, annotation.note, annotation.when) not in made
        if not annotation.human_label:
            return (annotation.object_id, annotation.who) in annotated
        return (identity, annotation.note) not in latest

    return [annotation for annotation in annotations if is_new(annotation)]


def _identity(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["object_id"], row["human_label"], row["who"]


def _read_table(url: str) -> pa.Table:
    """Return the table of a file; the columns of a CSV file are strings."""
    try:
        content = parse_table(read_bytes(url), url)
    except ArchiveError as error:
        raise LabelError(str(error)) from error
    if content.bad_lines:
        raise LabelError(
            f"{url}: {next(iter(content.bad_lines.values()))}. No label was added: correct the file"
        )
    return content.columns


def _column_as_text(table: pa.Table, name: str, url: str) -> list[str]:
    """Return a column as strings, "" for null."""
    if (n := table.column_names.count(name)) > 1:
        raise LabelError(f"{url} has {n} columns {name}: keep one of them")
    values: list[Any] = table[name].to_pylist()
    return ["" if value is None else _format_value(value) for value in values]


def _format_value(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _find_problem(row: Mapping[str, str]) -> str:
    """Return the problem of an invalid row; "" if it is valid."""
    if not row["object_id"]:
        return "no object_id"
    if (mark := row.get("mark", "")) and mark not in INTEREST_LABELS:
        return f"mark {mark!r} is neither {' nor '.join(INTEREST_LABELS)}"
    try:
        normalize_label(row["human_label"].strip())
    except LabelError as error:
        return str(error)
    for name in ("when", MARK_COLUMNS["when"]):
        try:
            if row.get(name):
                _parse_time(row[name])
        except ValueError:
            return f"{name} {row[name]!r} is not a time: write 2026-01-31 or 2026-01-31T12:00:00"
    return ""


def _build_annotations(row: Mapping[str, str], default_annotator: str, retract: bool) -> list[Annotation]:
    """Return the annotations of a valid row: its label, its mark, both, a withdrawal, or none."""
    label, mark = normalize_label(row["human_label"].strip()), row.get("mark", "")
    own = {name: row.get(name, "") for name in MARK_COLUMNS}
    of_mark = {name: row.get(column, own[name]) for name, column in MARK_COLUMNS.items()}
    given = [(label, own)] if label or (retract and not mark) else []
    return [
        Annotation(
            object_id=row["object_id"],
            human_label=text,
            who=values["who"] or default_annotator,
            note=values["note"],
            when=_parse_time(values["when"]) if values["when"] else None,
        )
        for text, values in given + ([(mark, of_mark)] if mark else [])
    ]


def _parse_time(text: str) -> datetime:
    when = datetime.fromisoformat(text.strip())
    return when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
