"""Reading FITS tables and images from bytes, strictly: whatever is damaged is refused, not mended.

Plain numbers, logicals and text are read here (FITS standard 4.0, Pence et al. 2010, A&A 524, A42). Scaled
columns, arrays of variable length and packed images are left to astropy, which gets the one HDU with its
structural cards alone, after their sizes were checked. The beginning of a file will do.
"""

from distspec.io.fits.cards import Header
from distspec.io.fits.hdus import IncompleteContentError
from distspec.io.fits.reading import FitsTable, parse_head, read_fits_image, read_fits_table

__all__ = [
    "FitsTable",
    "Header",
    "IncompleteContentError",
    "parse_head",
    "read_fits_image",
    "read_fits_table",
]
