"""What headers and tables of files say of the observation: values for `Archive.observation_columns`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from distspec.core.errors import InvalidSpectrumError
from distspec.core.schema import Column
from distspec.core.text import escape_unprintable
from distspec.io.fits.cards import Header
from distspec.io.fits.reading import FitsTable


def text_column(name: str, description: str) -> Column:
    """Return a column of `distspec.archives.base.Archive.observation_columns`.

    Parameters
    ----------
    name : str
        Name of the column.
    description : str
        Its description in the data dictionary.
    """
    return Column(name, pa.string(), "", description)


def read_keyword(header: Header, key: str) -> str:
    """Return a keyword as text; "" if it is missing, undefined or damaged, which no spectrum is lost for.

    Parameters
    ----------
    header : Header
        Header of an HDU.
    key : str
        Name of the keyword.
    """
    try:
        return _to_text(header.get(key))
    except InvalidSpectrumError:
        return ""


def read_cell(table: FitsTable, name: str) -> str:
    """Return the value of a table's only row as text; "" if it is missing or damaged.

    Parameters
    ----------
    table : FitsTable
        Table with one row.
    name : str
        Name of the column, in lower case.
    """
    if name not in table.column_names:
        return ""
    try:
        values = np.ravel(table.column(name))
    except InvalidSpectrumError:
        return ""
    return _to_text(values[0]) if len(values) == 1 else ""


def _to_text(value: Any) -> str:
    if value is None or value != value:  # NaN
        return ""
    # Integers are floating-point numbers in a column with missing values.
    whole = isinstance(value, float | np.floating) and float(value).is_integer()
    return escape_unprintable(str(int(value) if whole else value).strip())
