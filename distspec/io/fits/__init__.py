"""A strict reader of FITS tables and images: it refuses damaged files and reads no more than it needs.

It reads numbers, logicals and text itself (FITS standard 4.0, Pence et al. 2010, A&A 524, A42). astropy reads
scaled columns, variable-length arrays and compressed images; it gets one HDU with its structural cards only,
after their sizes were checked. It imports `distspec.core` and `distspec.io.remote` only.
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
