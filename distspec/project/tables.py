"""Tables of a project: answers to queries, and published tables that are read when they are needed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as ds

from distspec.core import schema
from distspec.core.text import format_table, format_value

if TYPE_CHECKING:
    import astropy.table
    import pandas as pd

N_SHOWN_ROWS = 20
"""Number of rows that a notebook or an interpreter shows."""


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
        from distspec.io.table_output import build_astropy_table

        return build_astropy_table(self.table)

    def write(self, path: str | Path, format: str = "") -> None:
        """Write the table to a file; the guide to catalogs has the rules of the formats.

        Parameters
        ----------
        path : str or Path
            Path or URL of the file, which is replaced if it exists.
        format : {"", "csv", "json", "parquet", "fits", "votable", "ecsv"}
            Format; empty: that of the ending of the path.

        Raises
        ------
        ConfigError
            If there is no such format.
        CatalogError
            If the format cannot hold a value or a type of the table.
        """
        from distspec.catalog.output_formats import save_table

        save_table(self.table, str(path), format)

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


def format_html_table(names: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    """Return an HTML table.

    Parameters
    ----------
    names : sequence of str
        Headers of the columns.
    rows : iterable of iterable
        Values of the cells of each row, formatted by `distspec.core.text.format_value`; text is escaped.
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(format_value(value))}</td>' for value in row)}</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
