"""Limits of what table files of others may make a reader do: read other files, or allocate without bound."""

from __future__ import annotations

import io
import math
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from astropy.utils.xml.iterparser import get_xml_iterator

from distspec.core.arrow import pc

MAX_TABLE_SIZE = 8 << 30
"""Maximum size of a table in memory [bytes], that of the default of ``--access.max-catalog-mb``."""
MAX_COLUMNS = 10_000
"""Maximum number of columns of a table."""
MULTIPLE_VALUES = pa.list_(pa.null())
"""Type of the columns that have several values per row, which are not read."""
_BATCH_ROWS = 1 << 17
_MAX_ARRAY_BYTES = (1 << 31) - 1  # that of texts in Arrow


def check_votable(content: bytes) -> None:
    """Check that a VOTable refers to no other file or URL and declares no more cells than it can have.

    astropy opens whatever the ``href`` of a STREAM names, allocates the declared numbers of rows and of
    elements, and reads binary rows of no bytes without end.

    Parameters
    ----------
    content : bytes
        The VOTable.

    Raises
    ------
    ValueError
        If it does.
    """
    n_rows, n_elements, n_letters = 0, 0, 0
    with get_xml_iterator(io.BytesIO(content)) as elements:
        for is_start, tag, attributes, _ in elements:
            if not is_start and tag == "TABLE":
                _check_cells(max(n_rows, 1), n_elements, n_letters, content)
            if not is_start or not isinstance(attributes, dict):
                continue
            if tag == "STREAM" and "href" in attributes:
                raise ValueError("its data are at another URL, which is not read: write them into the file")
            if tag == "TABLE":
                declared = str(attributes.get("nrows", "")).strip()
                check_row_count(int(declared[:20]) if declared.isdecimal() else 0, content)
                n_rows = 0
                if "ref" not in attributes:  # which has the fields of another table
                    n_elements = n_letters = 0
            if tag == "BINARY" and not n_elements + n_letters:
                raise ValueError("it has binary rows of no bytes")
            if tag == "TR":
                n_rows += 1
            if tag in {"FIELD", "PARAM"}:
                size = _count_elements(str(attributes.get("arraysize", "")))
                if "char" in str(attributes.get("datatype", "")).lower():
                    n_letters += size
                else:
                    n_elements += size
                _check_cells(1, n_elements, n_letters, content)


def _check_cells(n_rows: int, n_elements: int, n_letters: int, content: bytes) -> None:
    """Raise a `ValueError` if a VOTable declares more numbers or letters per row than it can have."""
    # An element of an array has one character, or one bit of a binary stream, at least.
    if n_rows * n_elements > 8 * len(content) or n_rows * 4 * n_letters > MAX_TABLE_SIZE:
        n_cells = n_rows * (n_elements + n_letters)
        raise ValueError(f"it declares {n_cells:,} numbers and letters in {len(content):,} bytes")


def _count_elements(array_size: str) -> int:
    """Return the fixed number of elements per row of a VOTable's field."""
    fixed = [size for size in array_size.strip().split("x") if not size.endswith("*")]
    return math.prod(int(size[:20]) for size in fixed if size.isdecimal())


def read_parquet(content: bytes, max_bytes: int = MAX_TABLE_SIZE) -> pa.Table:
    """Read a Parquet file up to a size in memory; a few bytes can encode billions of equal values.

    Texts are read as dictionaries, whose decoded size is known, and nested columns are not read.

    Parameters
    ----------
    content : bytes
        The file.
    max_bytes : int
        Maximum size of the table in memory [bytes].

    Returns
    -------
    pyarrow.Table
        Columns with several values per row are null.

    Raises
    ------
    ValueError
        If the table is larger, or has more than `MAX_COLUMNS` columns.
    """
    schema = pq.read_schema(io.BytesIO(content))
    check_column_count(len(schema))
    flat = [field.name for field in schema if _is_flat(field.type)]
    texts = [field.name for field in schema if _is_text(field.type)]
    batches: list[pa.RecordBatch] = []
    size = 0
    with pq.ParquetFile(io.BytesIO(content), read_dictionary=texts) as file:
        for batch in file.iter_batches(_BATCH_ROWS, columns=flat):
            sizes = [_decoded_size(column) for column in batch.columns]
            size += sum(sizes)
            limit = max_bytes if size > max_bytes else _MAX_ARRAY_BYTES
            if size > max_bytes or max(sizes, default=0) > _MAX_ARRAY_BYTES:
                raise ValueError(f"{len(content):,} bytes expand to more than {limit:,} in memory")
            batches.append(_decode_dictionaries(batch))
        n_rows = file.metadata.num_rows
    table = pa.Table.from_batches(batches) if batches else schema.empty_table()
    columns = [
        table[field.name] if _is_flat(field.type) else pa.nulls(n_rows, MULTIPLE_VALUES) for field in schema
    ]
    fields = [field.with_type(column.type) for field, column in zip(schema, columns, strict=True)]
    return pa.table(columns, schema=pa.schema(fields, schema.metadata))


def check_row_count(n_rows: int, content: bytes) -> None:
    """Raise a `ValueError` if a table declares more rows than its file has bytes.

    Parameters
    ----------
    n_rows : int
        Declared number of rows.
    content : bytes
        The file.
    """
    if n_rows > len(content):
        raise ValueError(f"it declares {n_rows} rows in {len(content):,} bytes")


def check_column_count(n_columns: int) -> None:
    """Raise a `ValueError` if a table has more than `MAX_COLUMNS` columns.

    Parameters
    ----------
    n_columns : int
        Number of columns.
    """
    if n_columns > MAX_COLUMNS:
        raise ValueError(f"it has {n_columns:,} columns, more than {MAX_COLUMNS:,}")


def _is_flat(kind: Any) -> bool:
    """Return whether a type has one value per row, of a limited size unless it is a text."""
    is_large = pa.types.is_fixed_size_binary(kind) and kind.byte_width > MAX_COLUMNS
    return not (pa.types.is_nested(kind) or is_large)


def _is_text(kind: Any) -> bool:
    return any(
        is_kind(kind)
        for is_kind in (
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_binary,
            pa.types.is_large_binary,
        )
    )


def _decoded_size(column: Any) -> int:
    """Return the size of a column when its dictionary is decoded [bytes]."""
    if not pa.types.is_dictionary(column.type) or not _is_text(column.type.value_type):
        return column.nbytes
    lengths: Any = pc.binary_length(column.dictionary).cast(pa.int64())
    return column.indices.nbytes + int(pc.sum(lengths.take(column.indices)).as_py() or 0)


def _decode_dictionaries(batch: pa.RecordBatch) -> pa.RecordBatch:
    columns: list[Any] = [
        column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        for column in batch.columns
    ]
    fields = [field.with_type(column.type) for field, column in zip(batch.schema, columns, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields, batch.schema.metadata))


def hide_variable_length_arrays(header: Any) -> None:
    """Declare the columns of variable-length arrays as pairs of integers, so that astropy does not read them.

    Catalogs need no arrays, and arrays that overlap can be larger than the file by any factor.

    Parameters
    ----------
    header : astropy.io.fits.Header
        Header of a binary table whose columns were not accessed yet; changed in place.
    """
    for key, value in list(header.items()):
        letter = str(value).strip().upper().lstrip("01")[:1]
        if key.startswith("TFORM") and letter in {"P", "Q"}:
            header[key] = "2J" if letter == "P" else "2K"
            for other in ("TDIM", "TSCAL", "TZERO", "TNULL"):
                header.remove(other + key.removeprefix("TFORM"), ignore_missing=True)
