"""A strict reader of FITS tables and images: it refuses damaged files and reads no more than it needs.

It reads numbers, logicals and text itself (FITS standard 4.0, Pence et al. 2010, A&A 524, A42). astropy reads
what has another form: unusual header cards, scaled or reshaped columns, variable-length arrays, ASCII tables,
compressed images. A file is therefore unreadable if it is damaged, or if astropy cannot read it either. The
package imports `distspec.core` and `distspec.io.remote` only.
"""

from distspec.io.fits.cards import Header
from distspec.io.fits.hdus import HDU, IncompleteContentError, list_hdus
from distspec.io.fits.reading import FitsTable, parse_head, read_fits_image, read_fits_table

__all__ = [
    "HDU",
    "FitsTable",
    "Header",
    "IncompleteContentError",
    "list_hdus",
    "parse_head",
    "read_fits_image",
    "read_fits_table",
]
