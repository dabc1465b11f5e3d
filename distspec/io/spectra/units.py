"""Units of wavelength and flux density as files spell them."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from astropy import units

from distspec.core.errors import InvalidSpectrumError, QuarantineReason
from distspec.core.spectrum import Floats

_ALIASES = {
    "a": "Angstrom", "ang": "Angstrom", "angs": "Angstrom", "angstroms": "Angstrom", "aa": "Angstrom",
    "ångström": "Angstrom", "å": "Angstrom", "micron": "um", "microns": "um", "micrometer": "um",
    "micrometers": "um", "μm": "um", "µm": "um", "meters": "m", "meter": "m", "metre": "m",
    "nanometers": "nm", "nanometer": "nm", "nanometre": "nm", "microjansky": "uJy", "jansky": "Jy",
    "millijansky": "mJy", "hertz": "Hz", "μjy": "uJy", "µjy": "uJy",
}  # fmt: skip
_NO_UNITS = {
    "", "none", "-", "--", "dimensionless", "unitless", "normalized", "normalised", "relative", "arbitrary",
    "arb", "adu", "count", "counts", "ct", "electron", "electrons", "dn", "unknown", "1",
}  # fmt: skip
_JOINED = re.compile(r"(ergs?|W|J|Jy|cm|um|nm|m|sec|s|Hz|AA|Angstrom|A)([+-]\d)?")
"""Units without blanks between them, such as ergss-1cm-2A-1."""
F_LAMBDA, F_NU = units.Unit("W m-2 um-1"), units.Unit("W m-2 Hz-1")
# Luminosities, surface brightnesses: the shape is that of a flux density, the brightness is not known.
_SHAPE_FACTORS: tuple[Any, ...] = (units.m**2, units.sr**-1, units.arcsec**-2, units.pix**-1)


@dataclass(frozen=True)
class FluxUnit:
    """Unit of a flux density.

    Attributes
    ----------
    name : str
        In a form that astropy parses; "" if only the shape of the spectrum is known.
    per_frequency : bool
        Whether the flux density is per frequency.
    """

    name: str
    per_frequency: bool


@lru_cache(maxsize=256)
def parse_unit(text: str) -> Any:
    """Return the astropy unit that a text spells, None if it spells none.

    Parameters
    ----------
    text : str
        Unit in any usual spelling, also ``1E-17 erg/cm^2/s/Ang`` or ``10^-17 ergs/s/cm2/A``.
    """
    text = text.strip(" '\"")
    text = text[1:-1].strip() if re.fullmatch(r"\[.*\]|\([^()]*\)", text) else text
    text = _ALIASES.get(text.lower(), text)
    text = re.sub(r"\b10\s*(?:\*\*|\^)\s*\(?([+-]?\d+)\)?", r"1e\1", text)
    text = re.sub(r"(?<![\w.])(?:1\.?0*)?[xX*]?\s*(1[eE][+-]?\d+)", r"\1", text)
    if re.search(r"\d", text) and len(_JOINED.findall(text)) > 1 and not _JOINED.sub("", text):
        text = " ".join(match[0] for match in _JOINED.finditer(text))
    text = re.sub(r"(?<=[A-Za-z)])\.(?=[A-Za-z])", " ", re.sub(r"(1[eE][+-]?\d+)(?=[A-Za-z])", r"\1 ", text))
    words = re.split(r"([A-Za-zÅμµ]+)", text)
    words = [_ALIASES.get(word.lower(), word) if word.lower() in _ALIASES else word for word in words]
    text = "".join(words).replace("ergs", "erg").replace("sec", "s").replace("^", "**")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # several slashes
            unit: Any = units.Unit(text)
    except (ValueError, TypeError):
        return None
    return unit if isinstance(unit, units.UnitBase) else None


def is_wave_unit(text: str) -> bool:
    """Return whether a text is a unit of wavelength.

    Parameters
    ----------
    text : str
        Unit as a file spells it.
    """
    unit = parse_unit(text) if text else None
    return unit is not None and any(unit == usual for usual in (units.um, units.nm, units.AA, units.m))


def is_flux_unit(text: str) -> bool:
    """Return whether a text is a unit of flux density.

    Parameters
    ----------
    text : str
        Unit as a file spells it.
    """
    unit = parse_unit(text) if text else None
    return unit is not None and (unit.is_equivalent(F_LAMBDA) or unit.is_equivalent(F_NU))


def wave_to_um(values: Floats, unit: str, is_frequency: bool) -> tuple[Floats, str]:
    """Convert wavelengths or frequencies to wavelengths in um.

    Parameters
    ----------
    values : ndarray of shape (n_pixels,)
        Values as stored, not logarithms.
    unit : str
        Their unit, "" if it is not stated.
    is_frequency : bool
        Whether they are frequencies if no unit is stated.

    Returns
    -------
    wave : ndarray of shape (n_pixels,)
        Wavelength [um].
    unit : str
        Unit that was used.

    Raises
    ------
    InvalidSpectrumError
        ``bad_table`` if the unit is not one of wavelength or frequency, or is not stated and not evident.
    """
    if unit.lower().strip() in _NO_UNITS:
        unit = "Hz" if is_frequency else _guess_wave_unit(values)
    parsed = parse_unit(unit)
    if parsed is not None and (parsed.is_equivalent(units.m) or parsed.is_equivalent(units.Hz)):
        with np.errstate(divide="ignore", invalid="ignore"):
            converted: Any = (values * parsed).to_value(units.um, units.spectral())
        return np.asarray(converted, np.float64), str(parsed)
    raise InvalidSpectrumError(
        QuarantineReason.BAD_TABLE,
        f"{unit!r} is not a unit of wavelength or frequency: give it with --units.wave",
    )


def _guess_wave_unit(values: Floats) -> str:
    """Return the unit that the range of values tells."""
    known = values[np.isfinite(values) & (values > 0)]
    if not len(known):
        raise InvalidSpectrumError(QuarantineReason.BAD_WAVE, "no finite, positive wavelength")
    low, high = float(known.min()), float(known.max())
    if high < 1e-3:
        return "m"
    if low >= 0.05 and high <= 60.0:
        return "um"
    if low >= 850.0 and high > 3000.0 and high < 3e5:
        return "Angstrom"
    raise InvalidSpectrumError(
        QuarantineReason.BAD_TABLE,
        f"wavelengths from {low:g} to {high:g} without a unit: give it with --units.wave",
    )


def parse_flux_unit(text: str, name: str) -> FluxUnit:
    """Return the unit of a flux density.

    Parameters
    ----------
    text : str
        Unit as a file or the user spells it, "" if it is not stated.
    name : str
        Name of the column, which tells flux per frequency from flux per wavelength without a unit.

    Raises
    ------
    InvalidSpectrumError
        ``bad_table`` if the unit is not one of flux density.
    """
    if text.lower().strip() in _NO_UNITS:
        return FluxUnit("", name.replace("_", "") in {"fnu", "fluxnu"})
    parsed = parse_unit(text)
    if parsed is not None:
        for unit, per_frequency in ((F_LAMBDA, False), (F_NU, True)):
            if parsed.is_equivalent(unit):
                return FluxUnit(parsed.to_string(), per_frequency)
            if any(parsed.is_equivalent(unit * factor) for factor in _SHAPE_FACTORS):
                return FluxUnit("", per_frequency)
        if parsed.is_equivalent(units.dimensionless_unscaled):
            return FluxUnit("", False)
    raise InvalidSpectrumError(
        QuarantineReason.BAD_TABLE,
        f"{text!r} is not a unit of flux density per wavelength or per frequency: give it with "
        "--units.flux, or none for the shape alone",
    )
