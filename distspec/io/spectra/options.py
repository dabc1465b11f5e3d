"""How files of spectra are read where their content does not say it, and the columns that were found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

ErrorKind = Literal["sigma", "variance", "ivar"]


@dataclass(frozen=True)
class ColumnNames:
    """Names of columns, or of image extensions of FITS files; empty: found by name, UCD and unit."""

    wave: str = ""
    """Wavelengths; their logarithm if the name begins with log or ln; frequencies if it begins with freq."""
    flux: str = ""
    """Flux densities."""
    err: str = ""
    """Errors: standard deviations, variances or inverse variances; "none": there are none."""
    mask: str = ""
    """Flags of pixels to leave out, where they are not 0; "none": use no mask."""
    z: str = ""
    """Redshift: a header keyword or a column of the file."""


@dataclass(frozen=True)
class UnitNames:
    """Units where a file states none, or another one; empty: as stated, or found by the range of values."""

    wave: str = ""
    """Unit of the wavelengths, such as Angstrom, nm or um."""
    flux: str = ""
    """Unit of the flux densities, such as uJy or erg/s/cm2/Angstrom; none: only the shape is known."""


@dataclass(frozen=True)
class ReadOptions:
    """Options of `distspec.io.spectra.read_spectra`.

    Attributes
    ----------
    columns : ColumnNames
        Names that the user gave.
    units : UnitNames
        Units that the user gave.
    hdu : str
        Name or number of the HDU to read; "" for the one that fits.
    error_kind : {"auto", "sigma", "variance", "ivar"}
        What the error column holds; "auto": its name or unit tells.
    air : bool
        Whether wavelengths are in air where the file does not say so.
    estimate_errors : bool
        Estimate missing errors from the scatter of neighboring pixels, or refuse the spectrum.
    """

    columns: ColumnNames = field(default_factory=ColumnNames)
    units: UnitNames = field(default_factory=UnitNames)
    hdu: str = ""
    error_kind: Literal["auto", "sigma", "variance", "ivar"] = "auto"
    air: bool = False
    estimate_errors: bool = True
