"""What archives of fibre spectrographs share: SDSS and DESI, 3600–10400 Å in units of 1e-17 erg/s/cm²/Å."""

from __future__ import annotations

import re
import warnings
from functools import lru_cache
from typing import Any

import numpy as np
from astropy import units

from distspec.archives.catalogs import make_absolute_url, read_catalog
from distspec.core.errors import InvalidSpectrumError, QuarantineReason
from distspec.core.spectrum import Floats
from distspec.io.fits.reading import FitsTable
from distspec.io.remote.config import AccessConfig, ListedFile
from distspec.io.remote.listing import list_folder

FLUX_UNIT = "1e-17 erg s-1 cm-2 AA-1"
WAVE_RANGE = (0.3, 1.2)
"""Wavelengths outside cannot come from these spectrographs [µm]."""
MEDIAN_ERROR_RANGE = (1e-5, 1e6)
"""A median error outside tells of a lost or doubled factor 1e-17 [1e-17 erg/s/cm²/Å]."""


def list_fits_files(url: str, catalog: str, name_pattern: str, access: AccessConfig) -> list[ListedFile]:
    """Return the FITS files whose names begin with `name_pattern`, a regular expression, by name.

    Parameters
    ----------
    url : str
        Folder or bucket.
    catalog : str
        Table of the files' paths below `url` in a column ``file``, perhaps with a ``version``; empty: the
        folder is listed.
    name_pattern : str
    access : AccessConfig

    Raises
    ------
    ValueError
        Where there is nothing to list, or the table has no such column.
    """
    if not url:
        raise ValueError("--archive.url is empty: name the folder or bucket that holds the files")
    base = make_absolute_url(url)
    if not catalog:
        names = re.compile(rf".*/{name_pattern}[^/]*\.fits(\.gz)?")
        return [file for file in list_folder(base, access) if names.fullmatch(file.url)]
    table = read_catalog(catalog, access)
    if "file" not in table.column_names:
        raise ValueError(f"{catalog} has no column file; it has {', '.join(table.column_names[:12])} …")
    files: list[str] = [file or "" for file in table["file"].to_pylist()]
    known = "version" in table.column_names
    versions: list[Any] = table["version"].to_pylist() if known else [""] * len(files)
    rows = sorted(zip(files, versions, strict=True))
    return [ListedFile(f"{base}/{file}", 0, str(version or "")) for file, version in rows if file]


def read_float_column(table: FitsTable, column: str) -> Floats:
    """Return a column of one number a row as float64.

    Raises
    ------
    BadSpectrumError
        ``bad_table`` where it is missing, holds text, or several numbers a row.
    """
    values = table.column(column)
    if values.ndim != 1 or values.dtype.kind not in "iuf":
        raise InvalidSpectrumError(
            QuarantineReason.BAD_TABLE, f"column {column} is {values.dtype} of shape {values.shape}"
        )
    return values.astype(np.float64)


@lru_cache(maxsize=64)
def check_unit(unit: str, expected: str = FLUX_UNIT) -> None:
    """Refuse a unit that contradicts the format; "" contradicts nothing.

    Raises
    ------
    BadSpectrumError
        ``bad_table``.

    Examples
    --------
    >>> check_unit("1E-17 erg/cm^2/s/Ang")
    >>> check_unit("erg/cm^2/s/Ang")
    Traceback (most recent call last):
    distspec.core.errors.InvalidSpectrumError: bad_table: unit erg/cm^2/s/Ang, not 1e-17 erg s-1 cm-2 AA-1
    """
    if not unit.strip():
        return
    seen = f"unit {unit}, not {expected}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", units.UnitsWarning)
            given: Any = units.Unit(re.sub(r"\bAng\b", "AA", unit))
            ratio = float(given.to(expected))
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidSpectrumError(QuarantineReason.BAD_TABLE, seen) from error
    if not np.isclose(ratio, 1.0, rtol=1e-6):
        raise InvalidSpectrumError(QuarantineReason.BAD_TABLE, seen)


def check_wave(wave: Floats) -> None:
    """Refuse wavelengths, (n,) [µm], that these spectrographs do not see: another unit, or no logarithm.

    Raises
    ------
    BadSpectrumError
        ``bad_wave``.
    """
    low, high = WAVE_RANGE
    if not len(wave) or not (wave.min() > low and wave.max() < high):  # NaN fails too
        span = f"{wave.min():.4g}–{wave.max():.4g} µm" if len(wave) else "no wavelengths"
        raise InvalidSpectrumError(
            QuarantineReason.BAD_WAVE, f"{span}, where {low}–{high} µm can be: another unit?"
        )


def mask_pixels(flux: Floats, ivar: Floats, bad_pixels: Any) -> tuple[Floats, Floats]:
    """Return flux and ivar, (n,) [`FLUX_UNIT`], both 0 where `bad_pixels` or where they are no measurement.

    Raises
    ------
    BadSpectrumError
        ``no_valid_pixels``; ``not_a_target`` where the flux is the same everywhere, which no sky and no
        object is: a broken fibre; ``bad_table`` where the noise says that a factor 1e-17 is lost.
    """
    valid = np.isfinite(flux) & np.isfinite(ivar) & (ivar > 0) & ~bad_pixels
    if not valid.any():
        seen = f"0 of {len(flux)} pixels valid: ivar is 0 in {np.count_nonzero(ivar == 0)} of them"
        raise InvalidSpectrumError(QuarantineReason.NO_VALID_PIXELS, seen)
    good = flux[valid]
    if len(good) > 1 and good.min() == good.max():
        seen = f"flux is {good[0]:g} in each of {len(good)} valid pixels: a broken fibre"
        raise InvalidSpectrumError(QuarantineReason.NOT_A_TARGET, seen)
    noise = float(np.median(ivar[valid])) ** -0.5
    if not MEDIAN_ERROR_RANGE[0] < noise < MEDIAN_ERROR_RANGE[1]:
        seen = f"median error {noise:.3g} in units of 1e-17 erg/s/cm²/Å: is that factor lost or doubled?"
        raise InvalidSpectrumError(QuarantineReason.BAD_TABLE, seen)
    return np.where(valid, flux, 0.0), np.where(valid, ivar, 0.0)
