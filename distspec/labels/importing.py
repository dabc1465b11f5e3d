"""Import of labels from a table file such as CSV or Parquet; every row is checked before any is added."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pyarrow as pa

from distspec.core.arrow import pc
from distspec.core.errors import ArchiveError, LabelError
from distspec.core.text import unescape_formula
from distspec.io.files import read_bytes
from distspec.io.table_formats import parse_table
from distspec.io.table_output import decode_text
from distspec.labels.annotations import INTEREST_LABELS, Annotation, normalize_label

REQUIRED_COLUMNS = ("object_id", "human_label")
OPTIONAL_COLUMNS = ("who", "when", "note", "mark")
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
        Labels of spectra in the store.
    unknown_ids : list of UnknownSpectrum
        Rows whose spectrum is not in the store.
    """

    annotations: list[Annotation]
    unknown_ids: list[UnknownSpectrum]


def read_labels(url: str, known_ids: pa.Array | pa.ChunkedArray, default_annotator: str) -> ImportedLabels:
    """Read labels from a table file.

    Parameters
    ----------
    url : str
        File with the columns ``object_id`` and ``human_label`` and, optionally, ``who``, ``when`` (ISO
        8601, UTC unless it states an offset), ``note`` and ``mark``. An empty label withdraws the person's
        previous one, unless the row has a mark, which is then added alone. In CSV, an apostrophe that escapes
        a formula (`distspec.core.text.escape_formula`) is removed; in FITS, VOTable and ECSV, JSON strings
        are decoded (`distspec.io.table_output.encode_text`).
    known_ids : Array of str, shape (n_spectra,)
        Identifiers of the spectra in the store.
    default_annotator : str
        Annotator of rows without ``who``.

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
    built = [_build_annotations(row, default_annotator) for row in rows]
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
    )


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
    label = row["human_label"]
    if not row["object_id"]:
        return "no object_id"
    if (mark := row.get("mark", "")) and mark not in INTEREST_LABELS:
        return f"mark {mark!r} is neither {' nor '.join(INTEREST_LABELS)}"
    try:
        normalize_label(label)
    except LabelError as error:
        return str(error)
    try:
        if row.get("when"):
            _parse_time(row["when"])
    except ValueError:
        return f"when {row['when']!r} is not a time: write 2026-01-31 or 2026-01-31T12:00:00"
    return ""


def _build_annotations(row: Mapping[str, str], default_annotator: str) -> list[Annotation]:
    """Return the annotations of a valid row: its label, its mark, or both."""
    when = _parse_time(row["when"]) if row.get("when") else None
    annotator, label = row.get("who") or default_annotator, normalize_label(row["human_label"])
    mark = row.get("mark", "")
    return [
        Annotation(row["object_id"], name, annotator, row.get("note", ""), when)
        for name in ([label] if label or not mark else []) + ([mark] if mark else [])
    ]


def _parse_time(text: str) -> datetime:
    when = datetime.fromisoformat(text.strip())
    return when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
