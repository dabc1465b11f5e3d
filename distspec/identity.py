"""Who is who: which spectra are of one source, and on which side of the split a source stands."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy import units
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray
from scipy.spatial import KDTree

from distspec.spectrum import Floats

JOIN_RADIUS = 0.5
"""A spectrum this near [arcsec] to a source's first position is of that source."""


def assign_sources(
    ra: Floats,
    dec: Floats,
    known_ra: Floats,
    known_dec: Floats,
    known_id: Sequence[str],
    source_key: Sequence[str] | None = None,
) -> list[str]:
    """Give each new spectrum the source it belongs to.

    A spectrum joins the nearest source whose first position lies within `JOIN_RADIUS`, else it opens one
    named after its own position. Taken in the order given, so the answer depends on the listing alone.

    Parameters
    ----------
    ra, dec : (N,) [deg, ICRS]
        The new spectra.
    known_ra, known_dec : (K,) [deg, ICRS]
        First positions of the sources that there are.
    known_id : (K,) str
    source_key : (N,) str, optional
        The archive's own name of the source; where it is not empty it decides, not the position.

    Returns
    -------
    (N,) list of str

    Examples
    --------
    >>> none = np.array([])
    >>> assign_sources(np.array([10.0, 10.00005, 10.1]), np.array([2.0, 2.0, 2.0]), none, none, [])
    ['J004000.00+020000.0', 'J004000.00+020000.0', 'J004024.00+020000.0']
    """
    n_known = len(known_id)
    names = [*known_id, *_position_names(ra, dec)]
    if source_key is not None:
        for i, key in enumerate(source_key):
            names[n_known + i] = key or names[n_known + i]
    named = np.array([bool(key) for key in source_key or [""] * len(ra)], dtype=bool)
    opens = np.ones(n_known + len(ra), dtype=bool)
    # A source's first position is its anchor, also where the archive names the source.
    opened = set(known_id)
    result = list(names)
    xyz = _unit_vectors(np.concatenate([known_ra, ra]), np.concatenate([known_dec, dec]))
    tree = KDTree(xyz)
    radius = 2.0 * np.sin(np.radians(JOIN_RADIUS / 3600.0) / 2.0)
    for i, near in enumerate(tree.query_ball_point(xyz[n_known:], radius), start=n_known):
        if named[i - n_known]:
            opens[i] = names[i] not in opened
            opened.add(names[i])
            continue
        earlier = np.array([j for j in near if j < i and opens[j]], dtype=int)
        if len(earlier):
            nearest = earlier[np.argmin(np.linalg.norm(xyz[earlier] - xyz[i], axis=1))]
            result[i], opens[i] = result[nearest], False
    return result[n_known:]


def _position_names(ra: Floats, dec: Floats) -> list[str]:
    """IAU-style names, JHHMMSS.ss±DDMMSS.s: the position to about 0.1 arcsec."""
    if not len(ra):
        return []
    # Rounded first: 359.999999° is 00h, not 24h.
    ra = np.round(ra * 240.0, 2) % 86_400.0 / 240.0
    sky: Any = SkyCoord(ra * units.deg, dec * units.deg)
    hours = sky.ra.to_string(unit=units.hourangle, sep="", precision=2, pad=True)
    degrees = sky.dec.to_string(sep="", precision=1, pad=True, alwayssign=True)
    return [f"J{h}{d}" for h, d in zip(hours, degrees, strict=True)]


def _unit_vectors(ra: Floats, dec: Floats) -> NDArray[np.float64]:
    a, d = np.radians(ra), np.radians(dec)
    return np.column_stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])


def in_validation(source_id: Sequence[str], share: float) -> NDArray[np.bool_]:
    """Tell which sources are held out for validation.

    From a hash of the source's name: an archive that grows moves nobody, and repeats of a source never
    straddle the split.

    Parameters
    ----------
    source_id : (N,) str
    share : float
        Expected share of sources held out, 0 to 1.

    Returns
    -------
    (N,) bool

    Examples
    --------
    >>> bool(in_validation([f"J{i}" for i in range(10_000)], 0.15).mean().round(2) == 0.15)
    True
    """
    hashes = [hashlib.blake2b(name.encode(), digest_size=8).digest() for name in source_id]
    fraction = np.array([int.from_bytes(h, "big") for h in hashes], dtype=np.float64) / 2.0**64
    return fraction < share
