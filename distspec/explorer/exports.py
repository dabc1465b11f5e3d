"""Tables that the explorer exports: all columns of ``objects``, with the current labels and marks."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import get_args

import pyarrow as pa

from distspec.catalog.output_formats import OutputFormat, write_table
from distspec.core.errors import ConfigError
from distspec.explorer.data import ExplorerData
from distspec.explorer.session import AnnotationSession
from distspec.labels.annotations import Annotation

MEDIA_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "votable": "application/x-votable+xml",
}
"""Formats of exported tables, with their media types."""
LABEL_COLUMNS = (
    (
        "",
        "human_label",
        False,
        "Label given by you, otherwise the latest of another annotator; empty for none.",
    ),
    ("mark_", "mark", True, "Mark given in the explorer: interesting or ordinary; empty for none."),
)
"""Prefix of the columns of annotators, column, whether it holds marks, and description."""


def build_export(data: ExplorerData, session: AnnotationSession, rows: Sequence[int] | None) -> pa.Table:
    """Return all columns of some spectra, with the labels and marks of this moment.

    Parameters
    ----------
    data : ExplorerData
        The catalog.
    session : AnnotationSession
        Labels and marks.
    rows : sequence of int or None
        Rows of ``objects``; None for all.

    Returns
    -------
    Table
        ``human_label`` holds the current labels; the marks, and who gave both when, are added for an import.
    """
    table = data.dataset.to_table() if rows is None else data.dataset.take(pa.array(rows, pa.int64()))
    object_ids: list[str] = table["object_id"].to_pylist()
    for prefix, name, as_marks, description in LABEL_COLUMNS:
        current = session.current_annotations(as_marks)
        found = [current.get(object_id, Annotation(object_id, "")) for object_id in object_ids]
        table = _set_text(table, name, [annotation.human_label for annotation in found], description)
        whens = [annotation.when.isoformat() if annotation.when else "" for annotation in found]
        table = _set_text(table, f"{prefix}who", [annotation.who for annotation in found], "Annotator.")
        table = _set_text(table, f"{prefix}when", whens, "Time of the annotation, ISO 8601.")
        table = _set_text(table, f"{prefix}note", [annotation.note for annotation in found], "Comment.")
    return table


def _set_text(table: pa.Table, name: str, values: Sequence[str], description: str) -> pa.Table:
    """Replace or append a column of texts."""
    field = pa.field(name, pa.string(), metadata={"description": description})
    column = pa.array(values, pa.string())
    if name in table.column_names:
        return table.set_column(table.column_names.index(name), field, column)
    return table.append_column(field, column)


def encode_table(table: pa.Table, output_format: str) -> bytes:
    """Return a table as a file.

    Parameters
    ----------
    table : Table
        The table.
    output_format : str
        One of `MEDIA_TYPES`. Texts that a spreadsheet takes for formulas are escaped in CSV.

    Returns
    -------
    bytes

    Raises
    ------
    ConfigError
        If there is no such format.
    """
    for name in get_args(OutputFormat):
        if name == output_format and name in MEDIA_TYPES:
            file = io.BytesIO()
            write_table(table, name, file)
            return file.getvalue()
    raise ConfigError(f"there is no format {output_format!r}: use one of {', '.join(MEDIA_TYPES)}")
