"""Sky positions as HEALPix cells in nested numbering.

References
----------
Gorski et al. 2005, ApJ 622, 759.
"""

from __future__ import annotations

from typing import Any

import astropy.units as u
import cdshealpix.nested
import numpy as np
from astropy.coordinates import Latitude, Longitude
from numpy.typing import NDArray

from distspec.core.errors import CatalogError
from distspec.core.spectrum import Floats

nested: Any = cdshealpix.nested  # its functions are wrapped by a decorator that hides their signatures
HEALPIX_ORDER = 29
"""Order of ``_healpix_29``: the finest that fits a signed 64-bit integer (0.4 milliarcseconds)."""
BASE_PIXEL_WIDTH = 58.6
"""Width of a cell of order 0 [deg]."""
MAX_CONE_ORDER = 26
"""Finest order at which cells of a cone are searched; cdshealpix looks two orders deeper."""
MIN_RANGE_RADIUS = 1e-6
"""Smallest radius of a cone whose cells are searched [deg]; rounding moves a position by much less."""


def radec_to_healpix(ra: Floats, dec: Floats) -> NDArray[np.int64]:
    """Return the HEALPix cells of order 29 that contain positions.

    Parameters
    ----------
    ra, dec : ndarray of shape (n_positions,)
        ICRS coordinates [deg].

    Returns
    -------
    ndarray of shape (n_positions,)
        Cells in nested numbering.

    Examples
    --------
    >>> radec_to_healpix(np.array([53.16]), np.array([-27.79]))
    array([2528750938111963644])
    """
    position = Longitude(ra, u.deg), Latitude(dec, u.deg)
    return nested.lonlat_to_healpix(*position, HEALPIX_ORDER).astype(np.int64)


def degrade_to_order(cells: NDArray[np.int64], order: int) -> NDArray[np.int64]:
    """Return the cells of a coarser order that contain cells of order 29.

    Parameters
    ----------
    cells : ndarray of shape (n_positions,)
        Cells of order 29.
    order : int
        Order of the result, at most 29.

    Examples
    --------
    >>> degrade_to_order(radec_to_healpix(np.array([53.16]), np.array([-27.79])), 5)
    array([8983])
    """
    return cells >> 2 * (HEALPIX_ORDER - order)


def compute_cone_range(ra: float, dec: float, radius: float) -> tuple[int, int]:
    """Return the first and the last cell of order 29 of the range that covers a cone.

    The range also contains cells outside the cone, many of them if the cone crosses the edge of a large cell.

    Parameters
    ----------
    ra, dec : float
        Center of the cone, ICRS [deg].
    radius : float
        Radius of the cone [deg]; from 180 on, the range is that of the whole sky.

    Raises
    ------
    CatalogError
        If the position or the radius is not finite, the declination is outside of -90 to 90, or the radius is
        negative.
    """
    if not (np.isfinite([ra, dec, radius]).all() and abs(dec) <= 90 and radius >= 0):
        raise CatalogError(
            f"cone({ra}, {dec}, {radius}): give a finite right ascension, a declination from -90 to 90 and a "
            "radius of at least 0, all in degrees"
        )
    if radius >= 180:
        return 0, 12 * 4**HEALPIX_ORDER - 1
    radius = max(radius, MIN_RANGE_RADIUS)
    order = int(np.clip(np.log2(BASE_PIXEL_WIDTH / radius), 0, MAX_CONE_ORDER))
    cone = Longitude(ra, u.deg), Latitude(dec, u.deg), radius * u.deg
    cells = nested.cone_search(*cone, order, flat=True)[0].astype(np.int64)
    shift = 2 * (HEALPIX_ORDER - order)
    return int(cells.min()) << shift, ((int(cells.max()) + 1) << shift) - 1
