"""What msaexp writes: the SPEC1D table of a spectrum, and which of its pixels are valid.

Versions 1, 2 and 4 of the DAWN JWST Archive's files (https://github.com/gbrammer/msaexp; Brammer 2023,
doi:10.5281/zenodo.7299500).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from distspec.archives.catalogs import unit_factor
from distspec.core.errors import InvalidSpectrumError, QuarantineReason
from distspec.core.spectrum import Floats
from distspec.io.fits.cards import Header
from distspec.io.fits.reading import FitsTable, read_fits_table

WAVE_UNIT, FLUX_UNIT = "um", "uJy"
_AIR_KEYWORDS = ("AIRORVAC", "SPECSYS", "CTYPE1", "CTYPE2", "CTYPE3", "TCTYP1", "TCTYP2", "TCTYP3")
_MEDIAN_WIDTH = 11
"""Pixels of the running median."""


def parse_spec1d(content: bytes, file_size: int) -> tuple[Floats, Floats, Floats]:
    """Return a spectrum as its SPEC1D table has it.

    Parameters
    ----------
    content : bytes
        The file, or its beginning.
    file_size : int [bytes]
        Size of the whole file.

    Returns
    -------
    wave : (n,) [um]
    flux, err : (n,) [uJy]
        As they stand there, whatever they are; in these units also where the table's are others.

    Raises
    ------
    Incomplete
        When the table does not end within `content`.
    BadSpectrumError
        As `distspec.io.fits.read_table`; ``bad_table`` also for columns that are missing, no numbers,
        not one value a row or in units that do not convert, and for wavelengths in air.
    """
    table = read_fits_table(content, "SPEC1D", file_size)
    _check_vacuum(table.header)
    wave = _read_column(table, "wave", WAVE_UNIT)
    flux, err = _read_column(table, "flux", FLUX_UNIT), _read_column(table, "err", FLUX_UNIT)
    if wave.ndim != 1 or not len(wave) or not wave.shape == flux.shape == err.shape:
        raise _bad_table_error(f"wave, flux and err of shapes {wave.shape}, {flux.shape} and {err.shape}")
    return wave, flux, err


def _read_column(table: FitsTable, name: str, unit: str) -> Floats:
    values = table.column(name)
    if values.dtype.kind not in "iuf":
        raise _bad_table_error(f"column {name} holds {values.dtype}, not numbers")
    factor = unit_factor(table.unit(name) or unit, unit)
    values = values.astype(np.float64, copy=False)
    return values if factor == 1.0 else values * factor


def _check_vacuum(header: Header) -> None:
    for key in _AIR_KEYWORDS:
        if key in header and str(header[key]).strip().upper().startswith(("AIR", "AWAV")):
            raise _bad_table_error(f"wavelengths in air: {key} is {header[key]}")
    if header.get("VACUUM") is False:
        raise _bad_table_error("wavelengths in air: VACUUM is F")


def _bad_table_error(seen: str) -> InvalidSpectrumError:
    return InvalidSpectrumError(QuarantineReason.BAD_TABLE, seen)


def find_valid_pixels(flux: Floats, err: Floats) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Tell which pixels msaexp calls valid.

    Finite, err > 0, flux ≠ 0, and an error that is not implausibly small: above half the 5th percentile
    and above a fifth of its own 11-pixel running median.

    Parameters
    ----------
    flux, err : (n,) [any one flux density]

    Returns
    -------
    (n,) bool

    Examples
    --------
    >>> flux, err = np.ones(40), np.ones(40)
    >>> flux[0], flux[1], err[2], err[20] = np.nan, 0.0, -1.0, 0.1
    >>> np.flatnonzero(~valid_pixels(flux, err))
    array([ 0,  1,  2, 20])
    """
    valid = np.isfinite(flux) & np.isfinite(err) & (err > 0) & (flux != 0)
    good = err[valid]
    if len(good):
        valid[valid] = (good > 0.5 * percentile(good, 5.0)) & (good > 0.2 * running_median(good))
    return valid


def percentile(values: Floats, q: float) -> float:
    """Return `numpy.percentile`, to the last bit and ten times as fast; of (n,) finite numbers, n ≥ 1."""
    place = (len(values) - 1) * (q / 100.0)
    below = int(place)
    above = min(below + 1, len(values) - 1)
    ordered = np.partition(values, (below, above))
    low, high, share = float(ordered[below]), float(ordered[above]), place - below
    return high - (high - low) * (1.0 - share) if share >= 0.5 else low + (high - low) * share


@njit(cache=True)
def running_median(values: Floats) -> Floats:
    """Return `scipy.ndimage.median_filter` of 11 pixels, mirrored at the ends, of (n,) finite numbers."""
    n, half = len(values), _MEDIAN_WIDTH // 2
    median, window = np.empty(n), np.full(_MEDIAN_WIDTH, np.inf)
    for i in range(n + 2 * half):
        enters = values[_mirror_index(i - half, n)]
        leaves = values[_mirror_index(i - half - _MEDIAN_WIDTH, n)] if i >= _MEDIAN_WIDTH else np.inf
        # The window stays sorted: the pixel that enters moves from where the other left to its place.
        at = 0
        while window[at] != leaves:
            at += 1
        while at + 1 < _MEDIAN_WIDTH and window[at + 1] < enters:
            window[at] = window[at + 1]
            at += 1
        while at > 0 and window[at - 1] > enters:
            window[at] = window[at - 1]
            at -= 1
        window[at] = enters
        if i >= 2 * half:
            median[i - 2 * half] = window[half]
    return median


@njit(cache=True)
def _mirror_index(i: int, n: int) -> int:
    if 0 <= i < n:
        return i
    i %= 2 * n
    return i if i < n else 2 * n - 1 - i
