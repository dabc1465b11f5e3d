"""Spectra in text tables (CSV, blank-separated, ECSV, IPAC), VOTable and Parquet."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from distspec.core.errors import ArchiveError
from distspec.io.catalog_table import MISSING_VALUES, CatalogTable
from distspec.io.spectra.fits_tables import split_long_table
from distspec.io.spectra.options import ReadOptions
from distspec.io.spectra.raw import Array, RawSpectra, bad_table, list_metadata_names
from distspec.io.spectra.roles import ID_NAMES, ColumnInfo, Roles, find_roles
from distspec.io.table_formats import IPAC_START, SEPARATORS, parse_table

_COMMENT = re.compile(r"\s*[#!;%]")
_ASSIGNMENT = re.compile(r"[\s#!;%]*(?P<key>[A-Za-z_][\w .-]{0,30}?)\s*[=:]\s*(?P<value>[^=]+?)\s*")
_POSITIONAL_NAMES = ("wave", "flux", "err", "mask")
_MIN_WIDE_COLUMNS = 16
"""With this number of columns whose names are numbers, a row is a spectrum, the names its wavelengths."""


def read_text(content: bytes, name: str, options: ReadOptions) -> RawSpectra:
    """Read the spectra of a table that is not FITS.

    Parameters
    ----------
    content : bytes
        The file.
    name : str
        Name of the file in messages.
    options : ReadOptions
        The user's names.

    Returns
    -------
    RawSpectra

    Raises
    ------
    InvalidSpectrumError
        ``bad_table`` if the file is not such a table, or has no wavelengths or fluxes.
    """
    start = content[:512].lstrip(b"\xef\xbb\xbf \r\n\t")
    if start.startswith((b"PAR1", b"# %ECSV", b"<")) or IPAC_START.match(content):
        return _read_described(content, name, options)
    if b"\x00" in start:
        raise bad_table("neither FITS nor a table in text, VOTable or Parquet")
    comments, lines = _split_lines(content)
    if not lines:
        raise bad_table("no line of data")
    separator = max(SEPARATORS, key=lines[0].count)
    if not lines[0].count(separator):
        separator = ""
    names, cells, form = _find_names(comments, lines, separator)
    table = _to_numbers(cells, len(names))
    headers = [_parse_comments(comments)]
    if sum(_is_number(column) for column in names) >= _MIN_WIDE_COLUMNS:
        return _read_wide(
            names, table, cells, {"form": f"{form}, a spectrum a row", "hdu": "", "headers": headers}
        )
    columns = [ColumnInfo(column) for column in names]
    roles = find_roles(columns, options) or _positional_roles(columns, options)
    if roles is None:
        raise bad_table(f"no wavelength or flux among the columns {', '.join(names)}: name them with "
                        "--columns.wave and --columns.flux")  # fmt: skip
    index = {id(column): number for number, column in enumerate(columns)}
    values = {
        key: table[:, index[id(column)]] if column is not None else None
        for key, column in (
            ("wave", roles.wave),
            ("flux", roles.flux),
            ("err", roles.err),
            ("mask", roles.mask),
        )
    }
    metadata = {
        column.base_name: np.array([row[number] for row in cells])
        for number, column in enumerate(columns)
        if column.base_name in list_metadata_names(options.columns.z)
    }
    return split_long_table(values, roles, metadata, {"form": form, "hdu": "", "headers": headers})


def _read_described(content: bytes, name: str, options: ReadOptions) -> RawSpectra:
    """Read a table with typed columns and units."""
    try:
        parsed = parse_table(content, name)
        table = CatalogTable(parsed, name)
        columns = [ColumnInfo(column, parsed.units.get(column, "")) for column in table.column_names]
        roles = find_roles(columns, options)
        if roles is None:
            raise bad_table(f"no wavelength or flux among the columns {', '.join(table.column_names)}")
        values: dict[str, Array | None] = {}
        for key, column in zip(
            _POSITIONAL_NAMES, (roles.wave, roles.flux, roles.err, roles.mask), strict=True
        ):
            values[key] = None if column is None else _column_values(table, column.name)
        metadata: dict[str, Array] = {
            column.base_name: np.array(table.text(column.name))
            for column in columns
            if column.base_name in list_metadata_names(options.columns.z)
        }
    except ArchiveError as error:
        raise bad_table(str(error)) from error
    start = content[:512].lstrip()
    form = (
        "Parquet table"
        if start.startswith(b"PAR1")
        else "VOTable"
        if start.startswith(b"<")
        else "text table"
    )
    comments, _ = _split_lines(content) if form == "text table" else ([], [])
    headers = [_parse_comments(comments)]
    form = "ECSV table" if start.startswith(b"# %ECSV") else form
    return split_long_table(values, roles, metadata, {"form": form, "hdu": "", "headers": headers})


def _column_values(table: CatalogTable, name: str) -> Array:
    texts = np.char.lower(np.array(table.text(name), str))
    if set(np.unique(texts)) <= {"true", "false", ""}:
        return texts == "true"
    return np.array([_parse_number(text) for text in texts], np.float64)


def _split_lines(content: bytes) -> tuple[list[str], list[str]]:
    """Return the comments before and within the data, and the other lines that are not empty."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    comments: list[str] = []
    lines: list[str] = []
    for line in text.splitlines():
        if _COMMENT.match(line):
            comments.append(line)
        elif line.strip():
            lines.append(line)
    return comments, lines


def _find_names(
    comments: Sequence[str], lines: Sequence[str], separator: str
) -> tuple[list[str], list[list[str]], str]:
    """Return the names of the columns, the cells of all rows, and the form of the table."""
    rows = _split_cells(lines, separator)
    form = "CSV table" if separator else "text table"
    if not all(_is_number(cell) or cell.lower() in MISSING_VALUES for cell in rows[0]) or not any(
        _is_number(cell) for cell in rows[0]
    ):
        names = [cell.strip() for cell in rows[0]]
        if not separator and len(rows) > 1 and len(names) != len(rows[1]):
            names = re.split(r"\s{2,}", lines[0].strip())
        rows = rows[1:]
    else:
        candidates = [_split_cells([_COMMENT.sub("", line)], separator)[0] for line in reversed(comments)]
        n = len(rows[0])
        names = next((found for found in candidates if len(found) == n and _are_names(found)), [])
        if not names:
            names, form = [f"col{number}" for number in range(1, n + 1)], f"{form} without names"
    if not rows:
        raise bad_table("no line of data")
    bad = [number for number, row in enumerate(rows, 1) if len(row) != len(names)]
    if bad:
        raise bad_table(
            f"row {bad[0]} has {len(rows[bad[0] - 1])} cells instead of {len(names)}"
            + (f", and {len(bad) - 1} more rows" if len(bad) > 1 else "")
        )
    return names, rows, form


def _split_cells(lines: Sequence[str], separator: str) -> list[list[str]]:
    if not separator:
        return [line.split() for line in lines]
    rows = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    return [[cell.strip() for cell in row] for row in rows]


def _to_numbers(cells: Sequence[Sequence[str]], n_columns: int) -> Array:
    """Return the cells as numbers, NaN where one is missing or is no number."""
    try:
        return np.array(cells, np.float64).reshape(-1, n_columns)
    except ValueError:
        return np.array([[_parse_number(cell) for cell in row] for row in cells], np.float64)


def _parse_number(cell: str) -> float:
    lower = cell.lower()
    if lower in {"true", "false"}:
        return float(lower == "true")
    try:
        return float(lower.replace("d", "e"))
    except ValueError:
        return np.nan


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _are_names(cells: Sequence[str]) -> bool:
    return not any(_is_number(cell) or cell in {"=", ":"} for cell in cells)


def _positional_roles(columns: Sequence[ColumnInfo], options: ReadOptions) -> Roles | None:
    """Return wavelength, flux and error in this order, for a table of two to four columns without names."""
    named = options.columns
    if named.wave or named.flux or len(columns) > len(_POSITIONAL_NAMES) or len(columns) < 2:
        return None
    if any(not re.fullmatch(r"col\d+", column.name) for column in columns):
        return None
    wave, flux, *others = columns
    err, mask = [*others, None, None][:2]
    kind: Any = "sigma" if options.error_kind == "auto" else options.error_kind
    return Roles(wave, flux, err, mask, error_kind=kind)


def _read_wide(
    names: Sequence[str], table: Array, cells: Sequence[Sequence[str]], common: dict[str, Any]
) -> RawSpectra:
    """Return the spectra of a table with a row for each spectrum and a column for each wavelength."""
    is_pixel = np.array([_is_number(name) for name in names])
    wave = np.array([float(name) for name, used in zip(names, is_pixel, strict=True) if used])
    others = {
        ColumnInfo(name).base_name: np.array([row[number] for row in cells])
        for number, name in enumerate(names)
        if not is_pixel[number]
    }
    roles = Roles(ColumnInfo("names of the columns"), ColumnInfo("rows"), None, None)
    key = next((name for name in ID_NAMES if name in others), "")
    ids = [str(value) for value in others[key]] if key else []
    return RawSpectra(roles=roles, wave=[wave], flux=list(table[:, is_pixel]), rows=others, ids=ids, **common)


def _parse_comments(comments: Sequence[str]) -> dict[str, str]:
    """Return values that comments give, as ``# z = 5.1`` or ``# RA: 150.1``, by name in upper case."""
    found: dict[str, str] = {}
    for line in comments:
        for part in line.split(","):
            if match := _ASSIGNMENT.fullmatch(part):
                found.setdefault(match["key"].strip().upper().replace(" ", "_"), match["value"].strip("'\" "))
    return found
