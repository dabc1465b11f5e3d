"""Columns of an external table, joined to the spectra by identifier, that color the map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from distspec.core.arrow import pc
from distspec.core.errors import CatalogError
from distspec.io.files import read_bytes
from distspec.io.table_formats import parse_table
from distspec.report.config import ReportConfig
from distspec.report.data import MapColumn

ID_COLUMNS = ("object_id", "source_id")
"""Columns by which a table is joined, in order of preference."""
MAX_COLUMNS = 8
"""Largest number of columns that are drawn."""


def read_map_columns(config: ReportConfig, objects: pa.Table) -> list[MapColumn]:
    """Read the columns of an external table for the spectra of a run.

    Parameters
    ----------
    config : ReportConfig
        The table and its columns.
    objects : Table
        Columns ``object_id`` and ``source_id``, one row per spectrum.

    Returns
    -------
    list of MapColumn
        Empty if no table is given.

    Raises
    ------
    CatalogError
        If the table has no identifier, none of the spectra, an identifier twice, or not these columns.
    """
    if not config.table:
        return []
    table = parse_table(read_bytes(config.table), config.table).columns
    id_column = find_id_column(table, config.table)
    names = list(config.columns) or [n for n in table.column_names if n not in ID_COLUMNS][:MAX_COLUMNS]
    if unknown := [name for name in names if name not in table.column_names]:
        raise CatalogError(
            f"{config.table} has no column {', '.join(unknown)}: choose from {', '.join(table.column_names)}"
        )
    rows = match_rows(table[id_column].cast("string"), objects[id_column], config.table, id_column)
    n_matched = len(rows) - rows.null_count
    return [MapColumn(name, _to_values(table[name], rows), n_matched) for name in names]


def find_id_column(table: pa.Table, url: str) -> str:
    """Return the column of a table by which it is joined, one of `ID_COLUMNS`.

    Parameters
    ----------
    table : Table
        Table of a user.
    url : str
        The table, for the error message.

    Raises
    ------
    CatalogError
        If it has none.
    """
    for name in ID_COLUMNS:
        if name in table.column_names:
            return name
    raise CatalogError(
        f"{url} has neither {' nor '.join(ID_COLUMNS)}; its columns are "
        f"{', '.join(table.column_names)}: rename the column of identifiers"
    )


def match_rows(ids: pa.ChunkedArray, wanted: pa.ChunkedArray, url: str, id_column: str) -> pa.Array:
    """Return the row of the table for each spectrum, null where it has none.

    Parameters
    ----------
    ids : ChunkedArray
        Identifiers in the table.
    wanted : ChunkedArray
        Identifiers of the spectra.
    url : str
        The table, for error messages.
    id_column : str
        Name of the column of identifiers, for error messages.

    Raises
    ------
    CatalogError
        If an identifier occurs twice, or the table has none of the spectra.
    """
    counts = pc.value_counts(ids.drop_null()).to_pylist()
    if repeated := [row["values"] for row in counts if row["counts"] > 1]:
        raise CatalogError(
            f"{url} has {len(repeated)} values of {id_column} more than once, such as {repeated[0]!r}: "
            "keep one row of each"
        )
    rows = pc.index_in(wanted.combine_chunks().cast("string"), ids.combine_chunks())
    if rows.null_count == len(rows):
        raise CatalogError(
            f"{url} has none of the {len(rows)} spectra: its {id_column} are such as {ids[:3].to_pylist()}, "
            f"those of the catalog such as {wanted[:3].to_pylist()}"
        )
    return rows


def _to_values(column: pa.ChunkedArray, rows: pa.Array) -> Any:
    """Return numbers, with NaN for missing ones, if all values are numbers; otherwise texts."""
    joined = column.take(rows)
    texts: Sequence[Any] = joined.to_pylist()
    is_number = pa.types.is_integer(joined.type) or pa.types.is_floating(joined.type)
    if not is_number and not pa.types.is_boolean(joined.type):
        try:
            return np.array([float(text) if text not in (None, "") else np.nan for text in texts])
        except ValueError:
            pass
    if is_number:
        return np.asarray(joined.cast("float64").to_numpy(), float)
    return np.array(["" if text is None else str(text) for text in texts])
