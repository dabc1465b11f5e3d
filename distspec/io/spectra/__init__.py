"""Readers of files of spectra in any usual form: FITS tables and images, text tables, VOTable and Parquet.

`read_spectra` finds wavelength, flux, error and mask by the user's option, UCD, name and unit, and
`SpectrumFile.read` converts a spectrum to increasing vacuum wavelengths with inverse variances. It imports
`distspec.core` and other modules of `distspec.io` only.
"""

from distspec.io.spectra.cleaning import CleanSpectrum, air_to_vacuum
from distspec.io.spectra.options import ColumnNames, ReadOptions, UnitNames
from distspec.io.spectra.reading import SpectrumFile, read_spectra

__all__ = [
    "CleanSpectrum",
    "ColumnNames",
    "ReadOptions",
    "SpectrumFile",
    "UnitNames",
    "air_to_vacuum",
    "read_spectra",
]
