"""Spectra in FITS tables: one per table, per row or per cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from distspec.core.errors import InvalidSpectrumError
from distspec.io.fits import HDU, FitsTable, read_fits_table
from distspec.io.spectra.options import ReadOptions
from distspec.io.spectra.raw import (
    Array,
    RawSpectra,
    bad_table,
    get_card,
    is_monotonic,
    list_metadata_names,
    split_rows,
)
from distspec.io.spectra.roles import ID_NAMES, ColumnInfo, Roles, find_roles, split_unit
from distspec.io.spectra.wcs import read_wcs

_ORDER_COLUMNS = {"sporder", "segment"}
"""Columns of tables whose rows are the orders or segments of one spectrum, as of HST's spectrographs."""


def describe_columns(hdu: HDU) -> list[ColumnInfo]:
    """Return what the header of a table says of its columns.

    Parameters
    ----------
    hdu : HDU
        A table.
    """
    columns: list[ColumnInfo] = []
    for number, column in enumerate(hdu.layout.columns, 1):
        ucd = get_card(hdu.header, f"TUCD{number}") or get_card(hdu.header, f"TUTYP{number}") or ""
        columns.append(ColumnInfo(column.name, column.unit, str(ucd)))
    return columns


def find_table_roles(hdu: HDU, options: ReadOptions) -> Roles | None:
    """Return the columns of the spectra in a table, None if it holds no spectra.

    Parameters
    ----------
    hdu : HDU
        Any HDU.
    options : ReadOptions
        The user's names.

    Returns
    -------
    Roles or None
    """
    if hdu.layout.hdu_type not in {"BINTABLE", "TABLE"} or hdu.layout.compressed or not hdu.layout.shape[0]:
        return None
    roles = find_roles(describe_columns(hdu), options, need_wave=False)
    if roles is None or roles.wave is not None:
        return roles
    flux = next(column for column in hdu.layout.columns if column.name == roles.flux.name)
    return roles if flux.dtype.shape or flux.tform_code in {"P", "Q"} else None


def read_table(
    content: bytes, number: int, hdus: Sequence[HDU], roles: Roles, options: ReadOptions
) -> RawSpectra:
    """Read the spectra of a table.

    Parameters
    ----------
    content : bytes
        The file.
    number : int
        Number of the table's HDU.
    hdus : sequence of HDU
        All HDUs of the file.
    roles : Roles
        Columns of the spectra.
    options : ReadOptions
        The user's names.

    Returns
    -------
    RawSpectra

    Raises
    ------
    InvalidSpectrumError
        ``bad_table`` if columns have different shapes, or no wavelengths are found.
    """
    table = read_fits_table(content, number)
    flux = _read_numbers(table, roles.flux)
    wave = _read_numbers(table, roles.wave) if roles.wave else None
    err, mask = (_read_numbers(table, role) if role else None for role in (roles.err, roles.mask))
    name = f"{hdus[number].layout.name or 'table'} ({number})"
    form = f"FITS table, HDU {name}"
    common: dict[str, Any] = {"form": form, "hdu": name, "headers": [table.header, hdus[0].header]}
    is_vector = flux.ndim > 1 or flux.dtype == object
    if not is_vector:
        assert wave is not None
        columns = {"wave": wave, "flux": flux, "err": err, "mask": mask}
        shapes = {key: value.shape for key, value in columns.items() if value is not None}
        if len(set(shapes.values())) > 1:
            raise bad_table(f"{form}: columns of different shapes {shapes}")
        return split_long_table(columns, roles, _read_metadata(table, len(flux), options), common)
    rows = {
        "flux": split_rows(flux),
        "err": split_rows(err) if err is not None else [],
        "mask": split_rows(mask) if mask is not None else [],
    }
    if wave is not None:
        waves = split_rows(wave) if wave.ndim > 1 or wave.dtype == object else [wave]
    else:
        waves, roles = _find_waves(content, number, hdus, roles, len(rows["flux"][0]), options)
    if _ORDER_COLUMNS & set(table.column_names):
        waves, rows = [np.concatenate(waves)], {k: [np.concatenate(v)] if v else [] for k, v in rows.items()}
    metadata = _read_metadata(table, len(rows["flux"]), options)
    ids = next((metadata[key] for key in ID_NAMES if key in metadata), [])
    return RawSpectra(roles=roles, wave=waves, rows=metadata, ids=_texts(ids), **rows, **common)


def split_long_table(
    columns: Mapping[str, Array | None], roles: Roles, metadata: Mapping[str, Array], common: dict[str, Any]
) -> RawSpectra:
    """Return the spectra of a table with a row for each pixel: one, or one for each identifier.

    Parameters
    ----------
    columns : mapping of str to ndarray of shape (n_rows,) or None
        ``wave``, ``flux``, ``err`` and ``mask``.
    roles : Roles
        Columns of the spectra.
    metadata : mapping of str to ndarray of shape (n_rows,)
        Other columns by base name.
    common : dict
        Further arguments of `RawSpectra`.
    """
    wave = columns["wave"]
    assert wave is not None
    values = {key: value for key, value in columns.items() if value is not None}
    key = next((name for name in ID_NAMES if name in metadata), "")
    starts = np.array([0])
    if key and not is_monotonic(wave):
        ids = np.asarray(metadata[key]).astype(str)
        starts = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]]))
    if len(starts) < 2:
        return RawSpectra(roles=roles, **{k: [v] for k, v in values.items()}, **common)
    parts = {k: np.split(v, starts[1:]) for k, v in values.items()}
    rows = {name: np.asarray(column)[starts] for name, column in metadata.items()}
    return RawSpectra(roles=roles, rows=rows, ids=_texts(rows[key]), **parts, **common)


def read_one_row_tables(
    content: bytes, hdus: Sequence[HDU], n_spectra: int, options: ReadOptions
) -> dict[str, Array]:
    """Return columns of other tables that have one row for each spectrum, such as redshifts and positions.

    Parameters
    ----------
    content : bytes
        The file.
    hdus : sequence of HDU
        Its HDUs.
    n_spectra : int
        Number of spectra.
    options : ReadOptions
        The user's names.
    """
    found: dict[str, Array] = {}
    for number, hdu in enumerate(hdus):
        is_table = hdu.layout.hdu_type in {"BINTABLE", "TABLE"} and not hdu.layout.compressed
        if is_table and hdu.layout.shape == (n_spectra,):
            table = read_fits_table(content, number)
            found = {**_read_metadata(table, n_spectra, options), **found}
    return found


def _read_metadata(table: FitsTable, n_rows: int, options: ReadOptions) -> dict[str, Array]:
    """Return the columns of identifiers, redshifts and positions, with one value for each row."""
    wanted = list_metadata_names(options.columns.z)
    found: dict[str, Array] = {}
    for name in table.column_names:
        base = split_unit(name)[0]
        if base in found or base not in wanted:
            continue
        try:
            values = table.column(name)
        except InvalidSpectrumError:  # a column that is not needed
            continue
        if values.shape == (n_rows,) and values.dtype.kind in "iufU":
            found[base] = values
    return found


def _find_waves(
    content: bytes, number: int, hdus: Sequence[HDU], roles: Roles, n_pixels: int, options: ReadOptions
) -> tuple[list[Array], Roles]:
    """Return wavelengths that another table holds, or the header's."""
    for other, hdu in enumerate(hdus):
        if other == number or hdu.layout.hdu_type not in {"BINTABLE", "TABLE"} or hdu.layout.compressed:
            continue
        found = find_roles([*describe_columns(hdu), ColumnInfo("flux")], options)
        if found is not None and found.wave is not None:
            wave = _read_numbers(read_fits_table(content, other), found.wave).reshape(-1)
            if len(wave) == n_pixels:
                return [wave], replace(roles, wave=found.wave, wave_scale=found.wave_scale)
    from_header = read_wcs(hdus[number].header, n_pixels) or read_wcs(hdus[0].header, n_pixels)
    if from_header is None:
        raise bad_table(f"no wavelengths for the {n_pixels} pixels of column {roles.flux.name}")
    return [from_header.wave], replace(roles, wave=ColumnInfo("header", from_header.unit))


def _read_numbers(table: FitsTable, column: ColumnInfo) -> Array:
    values = table.column(column.name)
    if values.dtype.kind not in "iufbO":
        raise bad_table(f"column {column.name} has type {values.dtype}, which is not numeric")
    return values


def _texts(values: Any) -> list[str]:
    return [str(value).strip() for value in values]
