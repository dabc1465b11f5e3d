"""Positions on the sky as HEALPix cells, which number the sky so that neighbours have numbers close together.

Górski et al. 2005, ApJ 622, 759. A cell of order 29 is 0.4 milliarcseconds wide.
"""

from __future__ import annotations

from typing import Any

import astropy.units as u
import cdshealpix.nested
import numpy as np
from astropy.coordinates import Latitude, Longitude
from numpy.typing import NDArray

from distspec.core.spectrum import Floats

nested: Any = cdshealpix.nested  # a decorator hides from type checkers what its functions take
HEALPIX_ORDER = 29
"""The finest order that a signed 64-bit number holds: that of ``_healpix_29``."""
BASE_PIXEL_WIDTH = 58.6
"""Width of a cell of order 0 [deg]."""


def radec_to_healpix(ra: Floats, dec: Floats) -> NDArray[np.int64]:
    """Return the cells of order 29, nested, that positions lie in.

    Parameters
    ----------
    ra, dec : (N,) [deg], ICRS

    Returns
    -------
    (N,) int64

    Examples
    --------
    >>> healpix(np.array([53.16]), np.array([-27.79]))
    array([2528750938111963644])
    """
    where = Longitude(ra, u.deg), Latitude(dec, u.deg)  # what it gives wraps around
    return nested.lonlat_to_healpix(*where, HEALPIX_ORDER).astype(np.int64)


def degrade_to_order(cells: NDArray[np.int64], order: int) -> NDArray[np.int64]:
    """Return the cells of another order, (N,), that cells of order 29 lie in.

    Examples
    --------
    >>> coarser(healpix(np.array([53.16]), np.array([-27.79])), 5)
    array([8983])
    """
    return cells >> 2 * (HEALPIX_ORDER - order)


def compute_cone_range(ra: float, dec: float, radius: float) -> tuple[int, int]:
    """Return the first and the last cell of order 29 between which a cone lies.

    Where a cone lies across the edge of a large cell, much else is numbered between the two, too.

    Parameters
    ----------
    ra, dec : float [deg], ICRS
    radius : float [deg]
    """
    order = int(np.clip(np.log2(BASE_PIXEL_WIDTH / max(radius, 1e-9)), 0, HEALPIX_ORDER))
    where = Longitude(ra, u.deg), Latitude(dec, u.deg), radius * u.deg
    cells = nested.cone_search(*where, order, flat=True)[0].astype(np.int64)
    shift = 2 * (HEALPIX_ORDER - order)
    return int(cells.min()) << shift, ((int(cells.max()) + 1) << shift) - 1
