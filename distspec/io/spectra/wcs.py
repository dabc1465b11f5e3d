"""Wavelengths that a FITS header declares: linear, logarithmic, or any spectral axis that astropy knows."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.io import fits

from distspec.core.spectrum import Floats
from distspec.io.spectra.raw import bad_table, get_card

_SPECTRAL_TYPES = ("WAVE", "AWAV", "FREQ", "LAMBDA", "WAVELENGTH", "LINEAR", "LOG", "LOGLAM", "MULTISPE")
_SPATIAL_TYPES = ("RA-", "DEC-", "RA--", "GLON", "GLAT", "PIXEL", "SLIT", "OFFSET", "ANGLE", "POS")


@dataclass(frozen=True)
class HeaderAxis:
    """Wavelengths of a header.

    Attributes
    ----------
    wave : ndarray of shape (n_pixels,)
        Wavelengths or frequencies.
    unit : str
        Their unit, "" if the header gives none.
    in_air : bool or None
        Whether they are in air; None if the header does not say.
    form : str
        How the header declares them.
    """

    wave: Floats
    unit: str
    in_air: bool | None
    form: str


def read_wcs(header: Mapping[str, Any], n_pixels: int, axis: int = 1) -> HeaderAxis | None:
    """Return the wavelengths of the pixels along an axis, None if the header declares none.

    Parameters
    ----------
    header : mapping
        Values by keyword.
    n_pixels : int
        Number of pixels.
    axis : int
        Number of the axis.

    Raises
    ------
    InvalidSpectrumError
        ``bad_table`` if the header declares wavelengths in a form that cannot be read.
    """
    values = {key: get_card(header, key) for key in _keys(axis)}
    ctype = str(values[f"CTYPE{axis}"] or "").strip().upper()
    start = _first_number(values, f"CRVAL{axis}", "COEFF0")
    step = _first_number(values, f"CD{axis}_{axis}", f"CDELT{axis}", "COEFF1")
    if start is None or not step or ctype.startswith(_SPATIAL_TYPES):
        return None
    in_air = {"AWAV": True}.get(ctype[:4])
    described = str(values[f"WAT{axis}_001"] or "")
    iraf_unit = re.search(r"units=\s*(\w+)", described)
    unit = str(values[f"CUNIT{axis}"] or (iraf_unit[1] if iraf_unit else "")).strip()
    if len(ctype) > 4 and ctype[4:5] == "-" and ctype[:4] in {"WAVE", "AWAV", "FREQ", "VOPT", "ENER"}:
        return _read_with_astropy(values, n_pixels, axis, in_air)
    if ctype == "MULTISPE":
        raise bad_table("wavelengths in IRAF's multispec format: write the spectrum as a table")
    reference = _first_number(values, f"CRPIX{axis}")
    pixel = np.arange(1.0, n_pixels + 1.0) - (1.0 if reference is None else reference)
    wave = start + pixel * step
    is_log10 = values["DC-FLAG"] == 1 or "LOG" in ctype or (values["COEFF0"] is not None and start < 10.0)
    # Without a unit, 3.58 and steps of 1e-4 are logarithms of wavelengths in Angstrom, as of SDSS.
    is_log10 = is_log10 or unit.lower().startswith("log") or (not unit and 3 < start < 5 and step <= 1e-3)
    if is_log10:
        with np.errstate(over="ignore"):
            wave = 10.0**wave
        unit = unit if not unit.lower().startswith("log") else unit[3:].strip("10() ")
    return HeaderAxis(wave, unit, in_air, "log-linear" if is_log10 else "linear")


def has_spectral_axis(header: Mapping[str, Any], axis: int = 1) -> bool:
    """Return whether a header declares an axis of wavelengths.

    Parameters
    ----------
    header : mapping
        Values by keyword.
    axis : int
        Number of the axis.
    """
    ctype = str(get_card(header, f"CTYPE{axis}") or "").strip().upper()
    return ctype.startswith(_SPECTRAL_TYPES)


def _keys(axis: int) -> list[str]:
    names = ("CTYPE", "CUNIT", "CRVAL", "CDELT", "CRPIX")
    others = ("DC-FLAG", "COEFF0", "COEFF1", "RESTFRQ", "RESTWAV")
    return [*(f"{name}{axis}" for name in names), f"CD{axis}_{axis}", f"WAT{axis}_001", *others]


def _first_number(values: Mapping[str, Any], *keys: str) -> float | None:
    for key in keys:
        value = values.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    return None


def _read_with_astropy(
    values: Mapping[str, Any], n_pixels: int, axis: int, in_air: bool | None
) -> HeaderAxis:
    """Return the wavelengths [m], or frequencies [Hz], of a nonlinear axis (Greisen et al. 2006)."""
    from astropy.wcs import WCS  # takes 0.2 s to import

    cards = {f"{key}1": values[f"{key}{axis}"] for key in ("CTYPE", "CUNIT", "CRVAL", "CRPIX")}
    cards["CDELT1"] = _first_number(values, f"CD{axis}_{axis}", f"CDELT{axis}")
    cards |= {key: values[key] for key in ("RESTFRQ", "RESTWAV")}
    header = fits.Header({"WCSAXES": 1} | {key: value for key, value in cards.items() if value is not None})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wcs: Any = WCS(header)
            wave = np.asarray(wcs.all_pix2world(np.arange(n_pixels), 0)[0], np.float64)
    except Exception as error:  # wcslib raises errors of several types
        raise bad_table(f"the header's spectral axis {cards['CTYPE1']} cannot be read: {error}") from error
    unit = str(wcs.wcs.cunit[0])
    return HeaderAxis(wave, unit, in_air, str(cards["CTYPE1"]))
