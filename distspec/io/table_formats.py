"""Formats of catalogs and tables of users, recognized by content: CSV, ECSV, IPAC, FITS, VOTable, Parquet."""

from __future__ import annotations

import io
import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from astropy.io import fits
from pyarrow import csv

from distspec.core.arrow import pc
from distspec.core.errors import ArchiveError
from distspec.io.table_limits import (
    MULTIPLE_VALUES,
    check_column_count,
    check_row_count,
    check_votable,
    hide_variable_length_arrays,
    read_parquet,
)

SEPARATORS = (",", "\t", ";", "|")
"""Separators of CSV files; the one that the header has most often is used."""
IPAC_START = re.compile(rb"(?:\\[^\n]*\n)*(?:\|[^\n]*\|[ \t\r]*\n){1,4}(?:\\|[^|\n]*\n)")
"""Lines that begin with a backslash, up to four lines of a header between bars, and data without bars."""


@dataclass(frozen=True)
class TableContent:
    """Content of a table file.

    Attributes
    ----------
    columns : Table
        Columns as stored; all columns of a CSV file are strings.
    units : mapping of str to str
        Units that the file declares, by column name.
    bad_lines : mapping of int to str
        Lines of a CSV file whose number of cells differs from that of the header, with a description, by the
        number of the line without blank lines; the header is line 1.
    """

    columns: pa.Table
    units: Mapping[str, str] = field(default_factory=dict[str, str])
    bad_lines: Mapping[int, str] = field(default_factory=dict[int, str])


def parse_table(content: bytes, url: str, preferred_hdu: str = "") -> TableContent:
    """Parse a table file, whose format follows from its content.

    Parameters
    ----------
    content : bytes
        Uncompressed content of the file.
    url : str
        Name of the file in error messages.
    preferred_hdu : str
        Name of the FITS table to read if the file has it; otherwise its first table is read.

    Returns
    -------
    TableContent

    Raises
    ------
    ArchiveError
        If the content is not a table in CSV, ECSV, IPAC, FITS, VOTable or Parquet.
    """
    start = content[:512].lstrip(b"\xef\xbb\xbf \r\n\t")
    try:
        if start.startswith(b"PAR1"):
            return _parse_parquet(content)
        if start.startswith(b"SIMPLE  ="):
            return _convert_astropy_table(_read_fits(content, preferred_hdu))
        if start.startswith(b"# %ECSV"):
            return _convert_astropy_table(_read_astropy(content, format="ascii.ecsv"))
        if ipac := IPAC_START.match(content):
            check_column_count(ipac.group().count(b"|"))
            return _convert_astropy_table(_read_astropy(content, format="ascii.ipac"))
        if start.startswith(b"<"):
            if b"<VOTABLE" not in content[:4096]:
                raise ValueError(f"it is a page that begins with {start[:20]!r}")
            check_votable(content)
            return _convert_astropy_table(_read_astropy(content, format="votable", table_id=0))
        if b"\x00" in start and not content.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise ValueError("it is a binary file")
        return _parse_csv(content)
    except Exception as error:  # readers of damaged files raise errors of many types
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ArchiveError(
            f"{url} is unreadable as a CSV, ECSV, IPAC, FITS, VOTable or Parquet table ({reason})"
        ) from error


def _read_astropy(content: bytes, **options: Any) -> Any:
    from astropy.table import Table  # takes most of a second to import, and catalogs in CSV do not need it

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about units and keywords that are not standard
        return Table.read(io.BytesIO(content), **options)


def _read_fits(content: bytes, preferred_hdu: str) -> Any:
    from astropy.table import Table

    with warnings.catch_warnings(), fits.open(io.BytesIO(content)) as hdus:
        warnings.simplefilter("ignore")
        tables: list[Any] = [hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU | fits.TableHDU)]
        for hdu in tables:
            check_row_count(hdu.header["NAXIS2"], content)
            hide_variable_length_arrays(hdu.header)
        if not tables:
            raise ValueError("the FITS file has no table")
        preferred = [hdu for hdu in tables if hdu.name.upper() == preferred_hdu.upper()]
        return Table.read((preferred or tables)[0])


def _convert_astropy_table(table: Any) -> TableContent:
    """Return the content of an astropy table, with masked values as nulls."""
    names: list[str] = list(table.colnames)
    columns: list[Any] = [table[name] for name in names]
    units = {name: str(column.unit) for name, column in zip(names, columns, strict=True) if _has_unit(column)}
    return TableContent(pa.table([_convert_column(column) for column in columns], names=names), units)


def _has_unit(column: Any) -> bool:
    return bool(str(getattr(column, "unit", None) or ""))


def _convert_column(column: Any) -> pa.Array:
    from astropy.table import Column

    if hasattr(column, "isot"):  # a time
        return pa.array([str(value) for value in column.isot])
    if not isinstance(column, Column) or column.ndim != 1 or column.dtype.kind in "cV":
        return pa.nulls(len(column), MULTIPLE_VALUES)
    mask = np.ma.getmaskarray(column)
    values = np.asarray(column)
    if values.dtype.kind in "biuf":
        return pa.array(values.astype(values.dtype.newbyteorder("=")), mask=mask)
    texts = [_decode(value) for value in values.tolist()]
    return pa.array([None if missing else text for text, missing in zip(texts, mask, strict=True)])


def _decode(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _parse_parquet(content: bytes) -> TableContent:
    """Read Parquet with the units of the fields' metadata, or of those that astropy writes."""
    table = read_parquet(content)
    metadata: Mapping[bytes, bytes] = table.schema.metadata or {}
    units: dict[str, str] = {}
    if header := metadata.get(b"table_meta_yaml"):
        from astropy.table.meta import get_header_from_yaml

        described: Any = get_header_from_yaml(header.decode().split("\n"))
        units = {column["name"]: str(column["unit"]) for column in described["datatype"] if "unit" in column}
        table = _apply_masks(table)
    for column in table.schema:
        if unit := (column.metadata or {}).get(b"unit"):
            units[column.name] = unit.decode()
    if pandas := metadata.get(b"pandas"):  # an index with a name is a column; one without a name is not
        indices = [name for name in json.loads(pandas)["index_columns"] if isinstance(name, str)]
        table = table.drop_columns([name for name in indices if name.startswith("__index_level_")])
    return TableContent(table, units)


def _apply_masks(table: pa.Table) -> pa.Table:
    """Return a table in which values are null where the column ``<name>.mask`` of astropy is True."""
    for name in table.column_names:
        mask = f"{name}.mask"
        if mask in table.column_names and pa.types.is_boolean(table[mask].type):
            values: Any = pc.if_else(table[mask], None, table[name])
            table = table.set_column(table.column_names.index(name), name, values).drop_columns([mask])
    return table


def _parse_csv(content: bytes) -> TableContent:
    """Read a CSV file whose cells are strings: no type is guessed from other rows."""
    text = _decode_csv(content)
    comments = re.match(r"(?:[ \t]*(?:#[^\n]*)?\n)*", text)
    start = comments.end() if comments else 0
    header = text[start:].partition("\n")[0]
    if not header.strip():
        raise ValueError("it is empty")
    separator = max(SEPARATORS, key=header.count)
    check_column_count(header.count(separator) + 1)
    data = text[start:].encode()
    bad_lines: dict[int, str] = {}

    def skip_line(row: Any) -> str:
        if not row.text.startswith("#"):
            n_cells = f"{row.actual_columns} cells instead of {row.expected_columns}"
            bad_lines[row.number] = f"line {row.number} has {n_cells}: {row.text[:80]}"
        return "skip"

    names = csv.open_csv(
        pa.BufferReader(data.partition(b"\n")[0] + b"\n"),
        parse_options=csv.ParseOptions(delimiter=separator),
    ).schema.names
    table = csv.read_csv(
        pa.BufferReader(data),
        csv.ReadOptions(use_threads=False),  # with threads, lines have no numbers
        csv.ParseOptions(delimiter=separator, invalid_row_handler=skip_line),
        csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False, check_utf8=False
        ),
    )
    n_lines = sum(bool(line) and not line.startswith("#") for line in text[start:].split("\n"))
    if text.count('"') % 2 and 1 + len(table) + len(bad_lines) != n_lines:
        raise ValueError("a quotation mark is not closed, so that rows are joined")
    return TableContent(table.rename_columns([name.strip() for name in names]), {}, bad_lines)


def _decode_csv(content: bytes) -> str:
    """Return the text of a CSV file in UTF-8, UTF-16 or Latin-1, with line feeds only."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = content.decode("utf-16")
    else:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = content.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")
