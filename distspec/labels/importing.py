"""Labels from a table that somebody made elsewhere: every row checked before any is kept."""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from distspec.core.arrow import pc
from distspec.io.files import read_bytes
from distspec.labels.annotations import Annotation

LABEL_COLUMNS = ("object_id", "human_label", "who", "when", "note")
REQUIRED_COLUMNS = LABEL_COLUMNS[:2]
MAX_LABEL_LENGTH = 100
"""Characters of a label."""
MAX_LISTED_ROWS = 5
"""Bad rows that an error names."""


@dataclass(frozen=True)
class ImportedLabels:
    """What a file says.

    Attributes
    ----------
    annotations : list of Said
        Of spectra that are known.
    unknown_ids : list of (int, str)
        Line of the file, counted with its header from 1, and object_id of each that is not.
    """

    annotations: list[Annotation]
    unknown_ids: list[tuple[int, str]]


def read_labels(url: str, known_ids: pa.Array | pa.ChunkedArray, default_annotator: str) -> ImportedLabels:
    """Read labels from a CSV or Parquet file.

    Parameters
    ----------
    url : str
        A file with columns object_id and human_label; who, when (ISO 8601, UTC unless it says otherwise) and
        note where there are. An empty label takes the last one of that person back.
    known_ids : (N,) str
        The spectra that there are.
    default_annotator : str
        Who says what the file does not say who says.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        When it is no such table, or a row is not right; names lines and values.
    """
    table = _read_table(url)
    lacking = [name for name in REQUIRED_COLUMNS if name not in table.column_names]
    if lacking:
        raise ValueError(
            f"{url} has no column {' and no column '.join(lacking)}, but {', '.join(table.column_names)}: "
            f"give it {', '.join(REQUIRED_COLUMNS)} and, if you like, {', '.join(LABEL_COLUMNS[2:])}"
        )
    columns = {
        name: _column_as_text(table, name, url) for name in LABEL_COLUMNS if name in table.column_names
    }
    bad: list[str] = []
    said: list[Annotation] = []
    for i in range(len(table)):
        row = {name: values[i] for name, values in columns.items()}
        problem = _find_problem(row)
        if problem:
            bad.append(f"line {i + 2}: {problem}")
            continue
        when = _parse_time(row["when"]) if row.get("when") else None
        label = row["human_label"].strip()
        said.append(
            Annotation(
                row["object_id"], label, row.get("who") or default_annotator, row.get("note", ""), when
            )
        )
    if bad:
        more = f"; and {len(bad) - MAX_LISTED_ROWS} more" if len(bad) > MAX_LISTED_ROWS else ""
        raise ValueError(f"{url}: {'; '.join(bad[:MAX_LISTED_ROWS])}{more}: nothing was kept, mend the file")
    there = pc.is_in(pa.array([each.object_id for each in said], pa.string()), known_ids.unique()).to_pylist()
    unknown = [(i + 2, each.object_id) for i, each in enumerate(said) if not there[i]]
    return ImportedLabels([each for each, ok in zip(said, there, strict=True) if ok], unknown)


def _read_table(url: str) -> pa.Table:
    content, stem = read_bytes(url), url.lower()
    try:
        if stem.endswith((".parquet", ".pq")):
            return pq.read_table(io.BytesIO(content))
        names = csv.open_csv(pa.BufferReader(content)).schema.names
        text = csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False)
        return csv.read_csv(pa.BufferReader(content), convert_options=text)
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise ValueError(
            f"{url} is no CSV or Parquet table ({error}): its name must end in its format"
        ) from error


def _column_as_text(table: pa.Table, name: str, url: str) -> list[str]:
    if table.column_names.count(name) > 1:
        raise ValueError(f"{url} has {table.column_names.count(name)} columns {name}: leave one")
    values: list[Any] = table[name].to_pylist()
    return ["" if value is None else _format_value(value) for value in values]


def _format_value(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _find_problem(row: dict[str, str]) -> str:
    """Return what is wrong with a row, "" for nothing."""
    label = row["human_label"]
    if not row["object_id"]:
        return "no object_id"
    if len(label) > MAX_LABEL_LENGTH:
        return f"human_label {label[:20]!r}… has {len(label)} characters, over {MAX_LABEL_LENGTH}"
    if not label.isprintable():
        return f"human_label {label!r} has characters that cannot be shown"
    try:
        if row.get("when"):
            _parse_time(row["when"])
    except ValueError:
        return f"when {row['when']!r} is no time: write 2026-01-31 or 2026-01-31T12:00:00"
    return ""


def _parse_time(text: str) -> datetime:
    when = datetime.fromisoformat(text.strip())
    return when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
