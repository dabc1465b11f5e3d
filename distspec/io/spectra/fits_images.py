"""Spectra in FITS images: one per image, per row of an array, or as rows of wavelength, flux and error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from distspec.core.errors import InvalidSpectrumError, QuarantineReason
from distspec.io.fits import HDU, read_fits_image
from distspec.io.spectra.options import ReadOptions
from distspec.io.spectra.raw import Array, RawSpectra, bad_table, get_card, is_monotonic, split_rows
from distspec.io.spectra.roles import ColumnInfo, Roles, find_roles
from distspec.io.spectra.units import is_wave_unit
from distspec.io.spectra.wcs import has_spectral_axis, read_wcs

_FLUX_EXTENSIONS = ("FLUX", "SCI", "DATA", "SPECTRUM", "SPEC", "SIGNAL")
_MAX_PLANES = 5
"""A larger number of rows than this are spectra, not wavelength, flux and error."""


def read_images(content: bytes, hdus: Sequence[HDU], options: ReadOptions) -> RawSpectra:
    """Read the spectra of a file's images.

    Parameters
    ----------
    content : bytes
        The file.
    hdus : sequence of HDU
        All HDUs of the file.
    options : ReadOptions
        The user's names.

    Returns
    -------
    RawSpectra

    Raises
    ------
    InvalidSpectrumError
        ``bad_table`` if there is no flux or no wavelength; ``ambiguous`` if several images could be the flux.
    """
    images = [number for number, hdu in enumerate(hdus) if _is_image(hdu)]
    columns = {number: _describe(hdus[number], number) for number in images}
    number = _find_flux_image(hdus, columns, options)
    header = hdus[number].header
    flux = np.asarray(read_fits_image(content, number)[0])
    name = f"{hdus[number].layout.name or 'PRIMARY'} ({number})"
    headers = [header, hdus[0].header]
    unit = next((str(u) for h in headers for k in ("BUNIT", "YUNITS") if (u := get_card(h, k))), "")
    common: dict[str, Any] = {"hdu": name, "headers": headers, "flux_unit": unit}
    if flux.ndim == 3 and 1 in flux.shape[:2]:
        return _read_bands(flux, header, name, common)
    if flux.ndim not in {1, 2}:
        raise bad_table(f"HDU {name} is an image of shape {flux.shape}, not of spectra")
    others = [column for key, column in columns.items() if key != number]
    roles = find_roles([ColumnInfo("flux", unit), *others], options, need_wave=False)
    assert roles is not None
    roles = replace(roles, flux=ColumnInfo(columns[number].name, unit))
    wave, roles, in_air = _find_wave(content, hdus, columns, roles, number, flux)
    if wave is None:
        return _read_planes(flux, header, name, common)
    parts: dict[str, list[Array]] = {}
    for key, column in (("err", roles.err), ("mask", roles.mask)):
        if column is None:
            continue
        values = np.asarray(read_fits_image(content, _number_of(columns, column))[0])
        if values.shape == flux.shape:
            parts[key] = split_rows(np.atleast_2d(values))
        else:
            roles = replace(roles, **{key: None})
    form = f"FITS image, HDU {name}"
    return RawSpectra(form, roles=roles, wave=wave, flux=split_rows(np.atleast_2d(flux)), in_air=in_air,
                      **parts, **common)  # fmt: skip


def _is_image(hdu: HDU) -> bool:
    layout = hdu.layout
    if layout.compressed:
        return True
    return layout.hdu_type == "IMAGE" and bool(layout.shape) and layout.data_size > 0


def _describe(hdu: HDU, number: int) -> ColumnInfo:
    name = hdu.layout.name or ("PRIMARY" if number == 0 else str(number))
    if name == "PRIMARY" or name.isdecimal():
        name = str(get_card(hdu.header, "ARRAY1") or name).strip()
    unit = str(get_card(hdu.header, "BUNIT") or "")
    return ColumnInfo(name, unit if is_wave_unit(unit) or number else "")


def _find_flux_image(hdus: Sequence[HDU], columns: Mapping[int, ColumnInfo], options: ReadOptions) -> int:
    """Return the number of the HDU that holds the flux."""
    wanted = options.columns.flux or options.hdu
    if wanted:
        for number, column in columns.items():
            if wanted.lower() in {column.name.lower(), hdus[number].layout.name.lower(), str(number)}:
                return number
        raise bad_table(f"no image {wanted}; the file has {_list_names(hdus)}")
    by_name = {column.name.upper(): number for number, column in reversed(list(columns.items()))}
    for name in _FLUX_EXTENSIONS:
        if name in by_name:
            return by_name[name]
    if 0 in columns:
        return 0
    spectral = [number for number in columns if has_spectral_axis(hdus[number].header)]
    found = spectral or list(columns)
    if len(found) == 1:
        return found[0]
    if not found:
        raise bad_table(f"no table or image with a spectrum; the file has {_list_names(hdus)}")
    raise InvalidSpectrumError(
        QuarantineReason.AMBIGUOUS,
        f"several images could be the flux: {', '.join(columns[n].name for n in found)}; give one with "
        "--columns.flux",
    )


def _find_wave(
    content: bytes,
    hdus: Sequence[HDU],
    columns: Mapping[int, ColumnInfo],
    roles: Roles,
    number: int,
    flux: Array,
) -> tuple[list[Array] | None, Roles, bool | None]:
    """Return the wavelengths of another image or of the header; None if there are none."""
    if roles.wave is not None:
        wave = np.asarray(read_fits_image(content, _number_of(columns, roles.wave))[0])
        if wave.shape[-1:] == flux.shape[-1:] and wave.ndim <= flux.ndim:
            return split_rows(np.atleast_2d(wave)), roles, None
        raise bad_table(f"{roles.wave.name} of shape {wave.shape} for the flux of shape {flux.shape}")
    axis = read_wcs(hdus[number].header, flux.shape[-1])
    has_planes = flux.ndim == 2 and min(flux.shape) <= _MAX_PLANES
    if axis is None or (has_planes and not has_spectral_axis(hdus[number].header)):
        return None, roles, None
    second = str(get_card(hdus[number].header, "CTYPE2") or "").upper()
    if flux.ndim == 2 and second.startswith(("RA-", "DEC-", "OFFSET", "SLIT")):
        raise bad_table(f"HDU {number} is a two-dimensional spectrum: extract one-dimensional spectra first")
    wave = ColumnInfo(f"header, {axis.form}", axis.unit)
    return [axis.wave], replace(roles, wave=wave, wave_scale="linear"), axis.in_air


def _read_planes(flux: Array, header: Mapping[str, Any], name: str, common: dict[str, Any]) -> RawSpectra:
    """Return the spectrum of an image whose rows are wavelength, flux and perhaps its error."""
    planes = flux.T if flux.ndim == 2 and flux.shape[0] > flux.shape[1] else flux
    if planes.ndim != 2 or not 2 <= len(planes) <= _MAX_PLANES or planes.shape[1] < _MAX_PLANES:
        raise bad_table(f"no wavelengths: HDU {name} has the shape {flux.shape} and no spectral axis")
    wave = np.asarray(planes[0], np.float64)
    known = wave[np.isfinite(wave) & (wave > 0)]
    if len(known) < 2 or not is_monotonic(known) or known[0] == known[-1]:
        raise bad_table(f"no wavelengths: the first of {len(planes)} rows of HDU {name} is not one of them")
    unit = str(get_card(header, "XUNITS") or "")
    err = ColumnInfo("row 3") if len(planes) > 2 else None
    roles = Roles(ColumnInfo("row 1", unit), ColumnInfo("row 2"), err, None)
    errors = [planes[2]] if len(planes) > 2 else []
    return RawSpectra(f"FITS image of rows, HDU {name}", roles=roles, wave=[wave], flux=[planes[1]],
                      err=errors, **common)  # fmt: skip


def _read_bands(flux: Array, header: Mapping[str, Any], name: str, common: dict[str, Any]) -> RawSpectra:
    """Return the spectrum of an image of shape (n_bands, 1, n_pixels), the form of IRAF's apextract."""
    bands = flux.reshape(-1, flux.shape[-1])
    ids = [str(get_card(header, f"BANDID{number}") or "").lower() for number in range(1, len(bands) + 1)]
    axis = read_wcs(header, bands.shape[1])
    if axis is None:
        raise bad_table(f"no wavelengths: HDU {name} has the shape {flux.shape} and no spectral axis")
    sigma = next((number for number, text in enumerate(ids) if text.startswith("sigma")), None)
    err = None if sigma is None else ColumnInfo(f"band {sigma + 1}")
    roles = Roles(ColumnInfo(f"header, {axis.form}", axis.unit), ColumnInfo("band 1"), err, None)
    errors = [] if sigma is None else [bands[sigma]]
    return RawSpectra(f"FITS image of bands, HDU {name}", roles=roles, wave=[axis.wave], flux=[bands[0]],
                      err=errors, in_air=axis.in_air, **common)  # fmt: skip


def _number_of(columns: Mapping[int, ColumnInfo], column: ColumnInfo) -> int:
    return next(number for number, other in columns.items() if other is column)


def _list_names(hdus: Sequence[HDU]) -> str:
    return ", ".join(hdu.layout.name or str(number) for number, hdu in enumerate(hdus))
