"""Tables as FITS, VOTable and ECSV files, which astropy writes.

The columns are texts, or of the types that these formats share (`NATIVE_TYPES`), or lists of such numbers.
`distspec.catalog.sql_columns` converts columns of queries to these types. Texts that a format would change
(`distspec.io.cell_text.encode_text`) and lists with null values are written as JSON.
"""

from __future__ import annotations

import io
import json
import math
import warnings
from collections.abc import Iterator
from itertools import count
from typing import IO, Any

import astropy.table
import numpy as np
import pyarrow as pa
from astropy.io import fits
from astropy.io.fits.verify import VerifyWarning
from astropy.io.votable.tree import Resource, TableElement, VOTableFile
from astropy.units import Unit

from distspec.core.arrow import get_field_metadata, pc
from distspec.core.errors import CatalogError
from distspec.io.cell_text import encode_text, escape_json
from distspec.io.column_headers import build_astropy_header, build_votable_fields

FITS_FORMATS = {
    pa.bool_(): "L",
    pa.uint8(): "B",
    pa.int16(): "I",
    pa.int32(): "J",
    pa.int64(): "K",
    pa.float32(): "E",
    pa.float64(): "D",
}
NATIVE_TYPES = tuple(FITS_FORMATS)
"""Types of numbers that FITS, VOTable and ECSV hold."""
WIDER_TYPES = {pa.bool_(): pa.uint8(), pa.uint8(): pa.int16(), pa.int16(): pa.int32(), pa.int32(): pa.int64()}
MAX_FITS_COLUMNS = 999
COMMENT_LENGTH = 70
"""Characters of a COMMENT card of FITS that astropy uses for its description of the columns."""
FITS_COMMENT = "Texts in double quotes are JSON strings; lists of texts are JSON."


def write_fits(table: pa.Table, file: IO[bytes]) -> None:
    """Write a table as the first extension of a FITS file.

    Null is TNULL in columns of integers, NaN in those of numbers with fractions, and an empty text. A column
    of booleans with null has the numbers 0 and 1. Descriptions and UCDs are in TCOMM and TUCD; astropy finds
    descriptions in comments.

    Parameters
    ----------
    table : Table
        Its fields have ``unit``, ``description`` and ``ucd`` in their metadata where they are known.
    file : file object
        Binary file that is open for writing.

    Raises
    ------
    CatalogError
        If the table has more columns than FITS allows.
    """
    if table.num_columns > MAX_FITS_COLUMNS:
        raise CatalogError(
            f"a FITS table has at most {MAX_FITS_COLUMNS} columns, this one has {table.num_columns}: "
            "select fewer columns"
        )
    table = _prepare(table, ascii_only=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VerifyWarning)  # about unusual names
        columns = [_fits_column(table[i], field) for i, field in enumerate(table.schema)]
        hdu = fits.BinTableHDU.from_columns(columns)
    for i, field in enumerate(table.schema, 1):
        for keyword, key in (("TCOMM", "description"), ("TUCD", "ucd")):
            if text := get_field_metadata(field, key):
                hdu.header[f"{keyword}{i}"] = encode_text(text, ascii_only=True)
    for line in (FITS_COMMENT, *_astropy_comments(table.schema)):
        hdu.header.add_comment(line)
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(file)


def write_votable(table: pa.Table, file: IO[bytes]) -> None:
    """Write a table as a VOTable (BINARY2).

    Null is flagged; astropy reads NaN as null too, and a null text as an empty one.

    Parameters
    ----------
    table : Table
        Its fields have ``unit``, ``description`` and ``ucd`` in their metadata where they are known.
    file : file object
        Binary file that is open for writing.
    """
    table = _prepare(table)
    votable, resource = VOTableFile(version="1.3"), Resource()
    element = TableElement(votable)
    votable.resources.append(resource)
    resource.tables.append(element)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about names that are no XML identifiers
        element.fields.extend(build_votable_fields(votable, table.schema, _utf16_lengths(table)))
        element.create_arrays(len(table))
        array: Any = element.array
        for name, values in zip(array.dtype.names, table.columns, strict=True):
            _fill_votable_column(array, name, values)
        votable.to_xml(file, tabledata_format="binary2")


def write_ecsv(table: pa.Table, file: IO[bytes]) -> None:
    """Write a table as ECSV, in which numbers with fractions may be null or NaN.

    Parameters
    ----------
    table : Table
        Its fields have ``unit`` and ``description`` in their metadata where they are known.
    file : file object
        Binary file that is open for writing.
    """
    text = io.StringIO()
    build_astropy_table(_prepare(table)).write(text, format="ascii.ecsv")
    file.write(text.getvalue().encode())


def build_astropy_table(table: pa.Table) -> astropy.table.Table:
    """Return a table of astropy with units and descriptions; null values are masked.

    Parameters
    ----------
    table : Table
        Its fields have ``unit`` and ``description`` in their metadata where they are known.

    Returns
    -------
    astropy.table.Table
    """
    return astropy.table.Table([_astropy_column(table[i], field) for i, field in enumerate(table.schema)])


def _prepare(table: pa.Table, ascii_only: bool = False) -> pa.Table:
    """Return a table with encoded texts and names, without lists that are null or have null integers."""
    columns: list[pa.ChunkedArray] = []
    fields: list[pa.Field] = []
    for i, field in enumerate(table.schema):
        values = table[i]
        if pa.types.is_list(field.type):
            values = _encode_lists(values)
        elif pa.types.is_string(field.type):
            encode = escape_json if get_field_metadata(field, "xtype") == "json" else encode_text
            texts = (None if text is None else encode(text, ascii_only) for text in values.to_pylist())
            values = pa.chunked_array([pa.array(texts, pa.string())])
        elif field.type not in NATIVE_TYPES:
            raise TypeError(f"column {field.name} is of type {field.type}")
        columns.append(values)
        fields.append(field.with_name(encode_text(field.name, ascii_only)).with_type(values.type))
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def _are_arrays(values: pa.ChunkedArray) -> bool:
    """Return whether a column has lists of numbers, none of them null except for numbers with fractions."""
    if not pa.types.is_list(values.type) or values.type.value_type not in NATIVE_TYPES or values.null_count:
        return False
    return pa.types.is_floating(values.type.value_type) or not pc.list_flatten(values).null_count


def _encode_lists(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return lists that are arrays as they are, and others as JSON."""
    if _are_arrays(values):
        return values
    texts = (None if row is None else json.dumps([_finite(x) for x in row]) for row in values.to_pylist())
    return pa.chunked_array([pa.array(texts, pa.string())])


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _list_arrays(values: pa.ChunkedArray) -> Any:
    """Return lists as an object array of arrays, with NaN for null."""
    dtype = values.type.value_type.to_pandas_dtype()
    arrays = np.empty(len(values), dtype=object)
    for i, row in enumerate(values.to_numpy(zero_copy_only=False)):
        arrays[i] = np.asarray(row, dtype)
    return arrays


def _fits_column(values: pa.ChunkedArray, field: pa.Field) -> fits.Column:
    options: dict[str, Any] = {
        "name": field.name,
        "unit": _format_fits_unit(get_field_metadata(field, "unit")),
    }
    if pa.types.is_list(values.type):
        code = FITS_FORMATS[values.type.value_type]
        return fits.Column(format=f"Q{code}()", array=_list_arrays(values), **options)
    if pa.types.is_string(values.type):
        texts = np.array([(text or "").encode() for text in values.to_pylist()], dtype=np.bytes_)
        return fits.Column(format=f"{max(texts.itemsize, 1)}A", array=texts, **options)
    if values.null_count and not pa.types.is_floating(values.type):
        values, options["null"] = _fill_null_integers(values)
    if pa.types.is_floating(values.type):
        values = pc.fill_null(values, math.nan)
    return fits.Column(format=FITS_FORMATS[values.type], array=values.to_numpy(), **options)


def _fill_null_integers(values: pa.ChunkedArray) -> tuple[pa.ChunkedArray, int]:
    """Return integers with an unused number in place of null, and this number; the type may be wider.

    The number is the lowest of the type, or 255 in a byte, if it is unused.
    """
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.uint8())
    limits = np.iinfo(values.type.to_pandas_dtype())
    used = set(pc.unique(values).to_pylist())
    candidates: Iterator[int] = count(255, -1) if limits.min == 0 else count(int(limits.min))
    null = next(number for number in candidates if number not in used)
    if not limits.min <= null <= limits.max:
        return _fill_null_integers(values.cast(WIDER_TYPES[values.type]))
    return pc.fill_null(values, pa.scalar(null, values.type)), null


def _format_fits_unit(unit: str) -> str | None:
    """Return a unit in the notation of FITS; as it is if that has none; None for no unit."""
    if not unit:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return Unit(unit).to_string("fits")
        except ValueError:
            return encode_text(unit, ascii_only=True)


def _astropy_comments(schema: pa.Schema) -> list[str]:
    """Return lines of a FITS header in which `astropy.table.Table.read` finds descriptions."""
    lines = ["--BEGIN-ASTROPY-SERIALIZED-COLUMNS--"]
    for line in build_astropy_header(schema, {"__serialized_columns__": {}}).split("\n"):
        parts = [line[i : i + COMMENT_LENGTH] for i in range(0, max(len(line), 1), COMMENT_LENGTH)]
        lines.extend([f"{part}\\" for part in parts[:-1]] + parts[-1:])
    return [*lines, "--END-ASTROPY-SERIALIZED-COLUMNS--"]


def _utf16_lengths(table: pa.Table) -> dict[str, int]:
    """Return the maximum length of every column of texts in units of UTF-16, in which VOTable counts."""
    texts = {
        field.name: table[i].to_pylist()
        for i, field in enumerate(table.schema)
        if pa.types.is_string(field.type)
    }
    return {
        name: max((len(text.encode("utf-16-be")) // 2 for text in values if text), default=1)
        for name, values in texts.items()
    }


def _fill_votable_column(array: Any, name: str, values: pa.ChunkedArray) -> None:
    """Write values into a column of the record array of a VOTable."""
    if pa.types.is_list(values.type):
        for i, row in enumerate(_list_arrays(values)):
            array.data[name][i] = np.ma.array(row, mask=False)
        return
    array.data[name] = _fill_nulls(values)
    array.mask[name] = values.is_null().to_numpy()


def _astropy_column(values: pa.ChunkedArray, field: pa.Field) -> Any:
    mask = np.asarray(values.is_null().to_numpy(), dtype=bool)
    description: dict[str, Any] = {
        "name": field.name,
        "unit": get_field_metadata(field, "unit") or None,
        "description": get_field_metadata(field, "description") or None,
    }
    content = _fill_nulls(values)
    if mask.any():
        return astropy.table.MaskedColumn(content, mask=mask, **description)
    return astropy.table.Column(content, **description)


def _fill_nulls(values: pa.ChunkedArray) -> Any:
    """Return values as NumPy holds them, with a placeholder of the same type for null."""
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        return np.array([value or "" for value in values.to_pylist()], dtype=np.str_)
    if _are_arrays(values):
        return _list_arrays(values)
    if pa.types.is_nested(values.type):
        content = np.empty(len(values), dtype=object)
        for i, value in enumerate(values.to_pylist()):
            content[i] = value
        return content
    if pa.types.is_integer(values.type) or pa.types.is_boolean(values.type):
        values = pc.fill_null(values, pa.scalar(0, pa.int8()).cast(values.type))
    return values.to_numpy(zero_copy_only=False)
