"""Arrow's compute functions, and properties of the columns of a schema.

pyarrow creates the compute functions at run time, so that type checkers do not see them.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute

pc: Any = pyarrow.compute


def get_field_metadata(field: pa.Field, key: str) -> str:
    """Return an entry of the metadata of a column; empty if there is none.

    Parameters
    ----------
    field : Field
        The column.
    key : str
        Key of the entry, for example ``unit``.

    Returns
    -------
    str
    """
    return (field.metadata or {}).get(key.encode(), b"").decode()


def get_element_type(field: pa.Field) -> pa.DataType:
    """Return the type of the elements of a column of lists, or of the values of another column.

    Parameters
    ----------
    field : Field
        The column.

    Returns
    -------
    DataType
    """
    return field.type.value_type if pa.types.is_list(field.type) else field.type
