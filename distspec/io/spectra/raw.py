"""Spectra as a file holds them: arrays with their columns' names and units, not yet converted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from distspec.core.errors import InvalidSpectrumError, QuarantineReason
from distspec.io.spectra.roles import ID_NAMES, Roles, list_words

Array = np.ndarray[Any, np.dtype[Any]]
_REDSHIFT_NAMES = list_words(
    "z redshift z_best zbest z_spec zspec specz z_final zfinal best_z z_sys zsys z_helio"
)
_POSITION_NAMES = (
    ("ra", "dec"), ("ra_targ", "dec_targ"), ("targ_ra", "targ_dec"), ("ra_targ", "decl_targ"),
    ("srcra", "srcdec"), ("source_ra", "source_dec"), ("objra", "objdec"), ("ra_obj", "dec_obj"),
    ("plug_ra", "plug_dec"), ("target_ra", "target_dec"), ("raj2000", "dej2000"), ("ra_deg", "dec_deg"),
    ("ra", "decl"), ("fiber_ra", "fiber_dec"),
)  # fmt: skip


def list_metadata_names(redshift_name: str) -> set[str]:
    """Return the names of columns that describe a spectrum: identifiers, redshifts and positions.

    Parameters
    ----------
    redshift_name : str
        Column that the user named, "" for the usual ones.
    """
    positions = {name for names in _POSITION_NAMES for name in names}
    return {*ID_NAMES, *_REDSHIFT_NAMES, *positions, redshift_name.lower()}


@dataclass(frozen=True)
class RawSpectra:
    """Spectra of one table or image.

    Attributes
    ----------
    form : str
        What the file is, such as "FITS table".
    hdu : str
        Name and number of the HDU; "" for other files.
    roles : Roles
        Which columns were taken for what.
    wave : sequence of ndarray
        Wavelengths of each spectrum, or one array for all of them.
    flux : sequence of ndarray
        Flux densities of each spectrum.
    err, mask : sequence of ndarray
        Errors and flags of each spectrum; empty if there are none.
    flux_unit : str
        Stated unit of the flux densities.
    headers : sequence of mapping
        Header values by keyword in upper case, those of the HDU first.
    rows : mapping of str to sequence
        Further columns with a value for each spectrum, by base name.
    ids : sequence of str
        Identifiers of the spectra within the file; empty if there are none.
    in_air : bool or None
        Whether the file says that wavelengths are in air; None: it does not say.
    """

    form: str
    hdu: str
    roles: Roles
    wave: Sequence[Array]
    flux: Sequence[Array]
    err: Sequence[Array] = ()
    mask: Sequence[Array] = ()
    flux_unit: str = ""
    headers: Sequence[Mapping[str, Any]] = ()
    rows: Mapping[str, Any] = field(default_factory=dict[str, Any])
    ids: Sequence[str] = ()
    in_air: bool | None = None

    def __len__(self) -> int:
        return len(self.flux)

    def find_redshift(self, index: int, name: str) -> float:
        """Return the redshift that the file gives for a spectrum, NaN if it gives none.

        Parameters
        ----------
        index : int
            Number of the spectrum.
        name : str
            Keyword or column that the user named; "" for the usual ones.
        """
        for key in (name.lower(),) if name else _REDSHIFT_NAMES:
            value = self._find_value(key, index)
            if np.isfinite(z := _to_float(value)) and z > -1.0:
                return z
        return np.nan

    def find_position(self, index: int) -> tuple[float, float]:
        """Return right ascension and declination [deg] that the file gives for a spectrum, NaN if none.

        Parameters
        ----------
        index : int
            Number of the spectrum.
        """
        for names in _POSITION_NAMES:
            ra, dec = (self._find_value(name, index) for name in names)
            if ra is None or dec is None:
                continue
            position = _to_degrees(ra, "hourangle"), _to_degrees(dec, "deg")
            if -180.0 <= position[0] <= 360.0 and abs(position[1]) <= 90.0:
                return position
        return np.nan, np.nan

    def _find_value(self, name: str, index: int) -> Any:
        if name in self.rows:
            return self.rows[name][index]
        for header in self.headers:
            for key in (name.upper(), name.upper().replace("_", "")):
                value = get_card(header, key)
                if value not in (None, ""):
                    return value
        return None


def get_card(header: Mapping[str, Any], key: str) -> Any:
    """Return the value of a header's keyword, None if it is missing or damaged.

    Parameters
    ----------
    header : mapping
        Values by keyword.
    key : str
        The keyword.
    """
    try:
        return header.get(key)
    except InvalidSpectrumError:
        return None


def split_rows(values: Array) -> list[Array]:
    """Return the rows of a column with one array in each cell, or of an image.

    Parameters
    ----------
    values : ndarray of shape (n_spectra, ...)
        Values; objects for arrays of variable length.
    """
    return [np.asarray(row).reshape(-1) for row in values]


def bad_table(detail: str) -> InvalidSpectrumError:
    """Return the error for a file that holds no spectrum in a form that is understood.

    Parameters
    ----------
    detail : str
        What was found.
    """
    return InvalidSpectrumError(QuarantineReason.BAD_TABLE, detail)


def is_monotonic(wave: Array) -> bool:
    """Return whether wavelengths run in one direction.

    Parameters
    ----------
    wave : ndarray of shape (n_pixels,)
        Wavelengths; those that are not finite are ignored.
    """
    steps = np.diff(wave[np.isfinite(wave)])
    return bool((steps >= 0).all() or (steps <= 0).all())


def _to_float(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return np.nan


def _to_degrees(value: Any, unit: str) -> float:
    """Return an angle in degrees; text with colons or blanks is sexagesimal, in `unit`."""
    number = _to_float(value)
    if np.isfinite(number) or not isinstance(value, str):
        return number
    from astropy.coordinates import Angle

    try:
        angle: Any = Angle(value.strip(), unit=unit)
        return float(angle.to_value("deg"))
    except ValueError:
        return np.nan
