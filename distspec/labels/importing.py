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
from distspec.io.files import get
from distspec.labels.annotations import Said

COLUMNS = ("object_id", "human_label", "who", "when", "note")
REQUIRED = COLUMNS[:2]
MAX_LENGTH = 100
"""Characters of a label."""
SHOWN = 5
"""Bad rows that an error names."""


@dataclass(frozen=True)
class Imported:
    """What a file says.

    Attributes
    ----------
    said : list of Said
        Of spectra that are known.
    unknown : list of (int, str)
        Line of the file, counted with its header from 1, and object_id of each that is not.
    """

    said: list[Said]
    unknown: list[tuple[int, str]]


def read_labels(url: str, known: pa.Array | pa.ChunkedArray, who: str) -> Imported:
    """Read labels from a CSV or Parquet file.

    Parameters
    ----------
    url : str
        A file with columns object_id and human_label; who, when (ISO 8601, UTC unless it says otherwise) and
        note where there are. An empty label takes the last one of that person back.
    known : (N,) str
        The spectra that there are.
    who : str
        Who says what the file does not say who says.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        When it is no such table, or a row is not right; names lines and values.
    """
    table = _read(url)
    lacking = [name for name in REQUIRED if name not in table.column_names]
    if lacking:
        raise ValueError(
            f"{url} has no column {' and no column '.join(lacking)}, but {', '.join(table.column_names)}: "
            f"give it {', '.join(REQUIRED)} and, if you like, {', '.join(COLUMNS[2:])}"
        )
    columns = {name: _text(table, name, url) for name in COLUMNS if name in table.column_names}
    bad: list[str] = []
    said: list[Said] = []
    for i in range(len(table)):
        row = {name: values[i] for name, values in columns.items()}
        problem = _problem(row)
        if problem:
            bad.append(f"line {i + 2}: {problem}")
            continue
        when = _when(row["when"]) if row.get("when") else None
        label = row["human_label"].strip()
        said.append(Said(row["object_id"], label, row.get("who") or who, row.get("note", ""), when))
    if bad:
        more = f"; and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        raise ValueError(f"{url}: {'; '.join(bad[:SHOWN])}{more}: nothing was kept, mend the file")
    there = pc.is_in(pa.array([each.object_id for each in said], pa.string()), known.unique()).to_pylist()
    unknown = [(i + 2, each.object_id) for i, each in enumerate(said) if not there[i]]
    return Imported([each for each, ok in zip(said, there, strict=True) if ok], unknown)


def _read(url: str) -> pa.Table:
    content, stem = get(url), url.lower()
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


def _text(table: pa.Table, name: str, url: str) -> list[str]:
    if table.column_names.count(name) > 1:
        raise ValueError(f"{url} has {table.column_names.count(name)} columns {name}: leave one")
    values: list[Any] = table[name].to_pylist()
    return ["" if value is None else _form(value) for value in values]


def _form(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _problem(row: dict[str, str]) -> str:
    """Return what is wrong with a row, "" for nothing."""
    label = row["human_label"]
    if not row["object_id"]:
        return "no object_id"
    if len(label) > MAX_LENGTH:
        return f"human_label {label[:20]!r}… has {len(label)} characters, over {MAX_LENGTH}"
    if not label.isprintable():
        return f"human_label {label!r} has characters that cannot be shown"
    try:
        if row.get("when"):
            _when(row["when"])
    except ValueError:
        return f"when {row['when']!r} is no time: write 2026-01-31 or 2026-01-31T12:00:00"
    return ""


def _when(text: str) -> datetime:
    when = datetime.fromisoformat(text.strip())
    return when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
