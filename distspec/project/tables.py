"""Tables of a project: answers to queries, and published tables that are read when they are needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from distspec.core import schema
from distspec.core.text import format_table

if TYPE_CHECKING:
    import astropy.table
    import pandas as pd

N_SHOWN_ROWS = 20
"""Number of rows that a notebook or an interpreter shows."""
UNIT_KEY, DESCRIPTION_KEY = b"unit", b"description"
"""Keys of the metadata of a column."""


@dataclass(frozen=True, repr=False)
class QueryResult:
    """A table in memory.

    Attributes
    ----------
    table : pyarrow.Table
        The table; the metadata of its columns hold units and descriptions where they are known.
    """

    table: pa.Table

    def __len__(self) -> int:
        return len(self.table)

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self.table.column_names)

    def to_arrow(self) -> pa.Table:
        """Return the Arrow table.

        Returns
        -------
        pyarrow.Table
        """
        return self.table

    def to_pandas(self) -> pd.DataFrame:
        """Return a pandas data frame.

        Returns
        -------
        pandas.DataFrame

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        return self.table.to_pandas()

    def to_astropy(self) -> astropy.table.Table:
        """Return an astropy table with units and descriptions; null values are masked.

        Returns
        -------
        astropy.table.Table
        """
        import astropy.table

        return astropy.table.Table([_astropy_column(self.table, name) for name in self.columns])

    def __repr__(self) -> str:
        return f"{format_table(self.table.slice(0, N_SHOWN_ROWS))}\n{self._size()}"

    def _repr_html_(self) -> str:
        rows = [row.values() for row in self.table.slice(0, N_SHOWN_ROWS).to_pylist()]
        return format_html_table(self.columns, rows) + f"<p>{self._size()}</p>"

    def _size(self) -> str:
        shown = f", the first {N_SHOWN_ROWS} shown" if len(self) > N_SHOWN_ROWS else ""
        return f"{len(self):,} rows × {len(self.columns)} columns{shown}"


@dataclass(frozen=True, repr=False)
class CatalogTable:
    """A published table, of which rows and columns are read when they are needed.

    Attributes
    ----------
    name : str
        Name of the table.
    dataset : pyarrow.dataset.Dataset
        The table's file.
    """

    name: str
    dataset: ds.Dataset

    def __len__(self) -> int:
        return int(self.dataset.count_rows())

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self.dataset.schema.names)

    def describe(self) -> QueryResult:
        """Return the columns with their types, units and descriptions.

        Returns
        -------
        QueryResult
            Columns name, type, unit and description.
        """
        return QueryResult(schema.build_data_dictionary(self.dataset.schema))

    def read(self, columns: Sequence[str] | None = None) -> QueryResult:
        """Read columns of the table; all of them by default.

        Parameters
        ----------
        columns : sequence of str or None
            Names of the columns; by default all.

        Returns
        -------
        QueryResult
        """
        return QueryResult(self.dataset.to_table(None if columns is None else list(columns)))

    def to_arrow(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return columns as an Arrow table; all of them by default.

        Parameters
        ----------
        columns : sequence of str or None
            Names of the columns; by default all.

        Returns
        -------
        pyarrow.Table
        """
        return self.read(columns).to_arrow()

    def to_pandas(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return columns as a pandas data frame; all of them by default.

        Parameters
        ----------
        columns : sequence of str or None
            Names of the columns; by default all.

        Returns
        -------
        pandas.DataFrame
        """
        return self.read(columns).to_pandas()

    def to_astropy(self, columns: Sequence[str] | None = None) -> astropy.table.Table:
        """Return columns as an astropy table with units; all of them by default.

        Parameters
        ----------
        columns : sequence of str or None
            Names of the columns; by default all.

        Returns
        -------
        astropy.table.Table
        """
        return self.read(columns).to_astropy()

    def __repr__(self) -> str:
        return f"<CatalogTable {self.name}: {len(self):,} rows × {len(self.columns)} columns>"

    def _repr_html_(self) -> str:
        columns = self.describe().table
        rows = [row.values() for row in columns.to_pylist()]
        title = f"<p>{escape(self.name)}: {len(self):,} rows</p>"
        return title + format_html_table(columns.column_names, rows)


def add_column_metadata(table: pa.Table, datasets: Iterable[ds.Dataset]) -> pa.Table:
    """Return a table whose columns have the units and descriptions of published columns of the same names.

    A name whose unit differs between the published tables is left without metadata.

    Parameters
    ----------
    table : pyarrow.Table
        Table, such as the result of a query; fields that have metadata keep it.
    datasets : iterable of pyarrow.dataset.Dataset
        The published tables.
    """
    known: dict[str, Mapping[bytes, bytes]] = {}
    ambiguous: set[str] = set()
    for dataset in datasets:
        for field in dataset.schema:
            metadata = field.metadata or {}
            if known.setdefault(field.name, metadata).get(UNIT_KEY) != metadata.get(UNIT_KEY):
                ambiguous.add(field.name)
    fields = [
        field.with_metadata(known[field.name])
        if field.name in known and field.name not in ambiguous and not field.metadata
        else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields, table.schema.metadata))


def format_html_table(names: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    """Return an HTML table.

    Parameters
    ----------
    names : sequence of str
        Headers of the columns.
    rows : iterable of iterable
        Values of the cells of each row, formatted by `format_value`; text is escaped.
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(format_value(value))}</td>' for value in row)}</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def format_value(value: Any) -> str:
    """Return a value as a cell of a table.

    Parameters
    ----------
    value : object
        The value; None gives an empty cell, a float is rounded to 6 significant digits.
    """
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _astropy_column(table: pa.Table, name: str) -> Any:
    import astropy.table

    values, field = table[name], table.schema.field(name)
    metadata = field.metadata or {}
    mask = np.asarray(values.is_null().to_numpy(zero_copy_only=False), dtype=bool)
    description: dict[str, Any] = {
        "name": name,
        "unit": metadata.get(UNIT_KEY, b"").decode() or None,
        "description": metadata.get(DESCRIPTION_KEY, b"").decode() or None,
    }
    content = _fill_nulls(values)
    if mask.any():
        return astropy.table.MaskedColumn(content, mask=mask, **description)
    return astropy.table.Column(content, **description)


def _fill_nulls(values: pa.ChunkedArray) -> Any:
    """Return values as NumPy holds them, with a placeholder of the same type for null."""
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        return np.array(["" if value is None else value for value in values.to_pylist()], dtype=str)
    if pa.types.is_nested(values.type):
        content = np.empty(len(values), dtype=object)
        content[:] = [None if value is None else value for value in values.to_pylist()]
        return content
    if pa.types.is_integer(values.type) or pa.types.is_boolean(values.type):
        values = values.fill_null(pa.scalar(0, values.type) if pa.types.is_integer(values.type) else False)
    return values.to_numpy(zero_copy_only=False)
