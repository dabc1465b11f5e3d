"""Readers shared by the archives of fiber spectrographs, SDSS and DESI."""

from __future__ import annotations

import re
import warnings
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from astropy import units

from distspec.archives.catalogs import make_absolute_url, read_catalog
from distspec.core.errors import ArchiveError, InvalidSpectrumError, QuarantineReason, QuarantineRecord
from distspec.core.spectrum import Floats
from distspec.io.fits.reading import FitsTable
from distspec.io.remote.config import AccessConfig, ListedFile
from distspec.io.remote.listing import list_folder

FLUX_UNIT = "1e-17 erg s-1 cm-2 AA-1"
WAVE_RANGE = (0.3, 1.2)
"""Range of plausible wavelengths [um]."""
MEDIAN_ERROR_RANGE = (1e-5, 1e6)
"""Range of plausible median errors, in `FLUX_UNIT`; others indicate a missing or doubled factor 1e-17."""


class CatalogFiles(NamedTuple):
    """Files of an archive, and the rows of its catalog that name none.

    Attributes
    ----------
    files : list of ListedFile
        Files sorted by name.
    deselected : dict of str to int
        Numbers of rows that are left out, by reason.
    rejected : list of QuarantineRecord
        Malformed rows.
    """

    files: list[ListedFile]
    deselected: dict[str, int]
    rejected: list[QuarantineRecord]


def list_fits_files(url: str, catalog: str, name_pattern: str, access: AccessConfig) -> CatalogFiles:
    """List the FITS files of an archive, sorted by name.

    Parameters
    ----------
    url : str
        Folder or bucket.
    catalog : str
        Table with a column ``file`` of paths below `url` and, optionally, a column ``version``; if empty, the
        folder is listed.
    name_pattern : str
        Regular expression for the beginning of file names; ignored if `catalog` is given.
    access : AccessConfig
        Credentials, limits and timeouts.

    Raises
    ------
    ArchiveError
        If `url` is empty, the folder cannot be listed or the table has no column ``file``.
    """
    if not url:
        raise ArchiveError("--archive.url is empty: give the folder or bucket of the files")
    base = make_absolute_url(url)
    if not catalog:
        names = re.compile(rf".*/{name_pattern}[^/]*\.fits(\.gz)?")
        files = [file for file in list_folder(base, access) if names.fullmatch(file.url)]
        return CatalogFiles(files, {}, [])
    table = read_catalog(catalog, access)
    paths = table.text(table.require_column("file"))
    version_column = table.find_column("version")
    versions = table.text(version_column) if version_column else [""] * len(paths)
    rows = sorted((path, version) for path, version in zip(paths, versions, strict=True) if path)
    n_unnamed = len(paths) - len(rows)
    return CatalogFiles(
        [ListedFile(f"{base}/{path}", 0, version) for path, version in rows],
        {"no file name": n_unnamed} if n_unnamed else {},
        table.describe_bad_lines(),
    )


def read_float_column(table: FitsTable, column: str) -> Floats:
    """Return a numeric column with one value per row as float64.

    Parameters
    ----------
    table : FitsTable
        Table.
    column : str
        Name of the column, in lower case.

    Raises
    ------
    InvalidSpectrumError
        With reason ``bad_table`` if the column is missing, is not numeric or has several values per row.
    """
    values = table.column(column)
    if values.ndim != 1 or values.dtype.kind not in "iuf":
        raise InvalidSpectrumError(
            QuarantineReason.BAD_TABLE, f"column {column} is {values.dtype} of shape {values.shape}"
        )
    return values.astype(np.float64)


@lru_cache(maxsize=64)
def check_unit(unit: str, expected: str = FLUX_UNIT) -> None:
    """Check that the unit given by a file is the expected one.

    Parameters
    ----------
    unit : str
        Unit in the file; "" if it gives none, which is accepted.
    expected : str
        Unit of the format.

    Raises
    ------
    InvalidSpectrumError
        With reason ``bad_table`` if the unit differs.

    Examples
    --------
    >>> check_unit("1E-17 erg/cm^2/s/Ang")
    >>> check_unit("erg/cm^2/s/Ang")
    Traceback (most recent call last):
    distspec.core.errors.InvalidSpectrumError: bad_table: unit erg/cm^2/s/Ang, not 1e-17 erg s-1 cm-2 AA-1
    """
    if not unit.strip():
        return
    detail = f"unit {unit}, not {expected}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", units.UnitsWarning)
            parsed: Any = units.Unit(re.sub(r"\bAng\b", "AA", unit))
            ratio = float(parsed.to(expected))
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidSpectrumError(QuarantineReason.BAD_TABLE, detail) from error
    if not np.isclose(ratio, 1.0, rtol=1e-6):
        raise InvalidSpectrumError(QuarantineReason.BAD_TABLE, detail)


def check_wave(wave: Floats) -> None:
    """Check that wavelengths lie in `WAVE_RANGE`.

    Parameters
    ----------
    wave : ndarray of shape (n_pixels,)
        Wavelength [um].

    Raises
    ------
    InvalidSpectrumError
        With reason ``bad_wave`` if they do not, for instance because they have another unit.
    """
    low, high = WAVE_RANGE
    if not len(wave) or not (wave.min() > low and wave.max() < high):  # also False for NaN
        span = f"{wave.min():.4g}–{wave.max():.4g} µm" if len(wave) else "no wavelengths"
        raise InvalidSpectrumError(
            QuarantineReason.BAD_WAVE, f"{span}, outside {low}–{high} µm: is this another unit?"
        )


def mask_pixels(flux: Floats, ivar: Floats, bad_pixels: Any) -> tuple[Floats, Floats]:
    """Mask invalid pixels of a spectrum and check that it is plausible.

    Parameters
    ----------
    flux : ndarray of shape (n_pixels,)
        Flux density, in `FLUX_UNIT`.
    ivar : ndarray of shape (n_pixels,)
        Inverse variance.
    bad_pixels : ndarray of bool, shape (n_pixels,)
        Pixels to mask in addition to those without a finite flux and a positive inverse variance.

    Returns
    -------
    flux, ivar : ndarray of shape (n_pixels,)
        Both 0 where masked.

    Raises
    ------
    InvalidSpectrumError
        With reason ``no_valid_pixels``; ``not_a_target`` if the flux is constant, as of a broken fiber;
        ``bad_table`` if the median error is not in `MEDIAN_ERROR_RANGE`.
    """
    valid = np.isfinite(flux) & np.isfinite(ivar) & (ivar > 0) & ~bad_pixels
    if not valid.any():
        detail = f"0 of {len(flux)} pixels valid; ivar is 0 in {np.count_nonzero(ivar == 0)} pixels"
        raise InvalidSpectrumError(QuarantineReason.NO_VALID_PIXELS, detail)
    good = flux[valid]
    if len(good) > 1 and good.min() == good.max():
        detail = f"flux is {good[0]:g} in all {len(good)} valid pixels: a broken fiber"
        raise InvalidSpectrumError(QuarantineReason.NOT_A_TARGET, detail)
    noise = float(np.median(ivar[valid])) ** -0.5
    if not MEDIAN_ERROR_RANGE[0] < noise < MEDIAN_ERROR_RANGE[1]:
        detail = (
            f"median error {noise:.3g} in units of 1e-17 erg/s/cm²/Å: is the factor 1e-17 missing or doubled?"
        )
        raise InvalidSpectrumError(QuarantineReason.BAD_TABLE, detail)
    return np.where(valid, flux, 0.0), np.where(valid, ivar, 0.0)
