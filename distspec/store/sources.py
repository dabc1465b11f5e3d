"""Who is who: which spectra are of one source, and on which side of the split a source stands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.spatial import KDTree

from distspec.core.spectrum import Floats

MATCH_RADIUS = 0.5
"""A spectrum this near [arcsec] to a source's first position is of that source, unless told otherwise."""
_EMPTY = np.zeros(0)
_STRING_DTYPE = np.dtypes.StringDType()


class SourceMatcher:
    """The sources that there are, and to which of them each further spectrum belongs.

    A spectrum joins the nearest source whose first position lies within `radius`, else it opens one
    named after its own position. Taken in the order given, so the answer depends on the listing alone.

    Parameters
    ----------
    ra, dec : (K,) [deg, ICRS]
        Positions of the spectra so far, in order.
    names : (K,) str, a sequence or an array
        Their sources.
    radius : float [arcsec]

    Examples
    --------
    >>> sources = Sources()
    >>> sources.assign(np.array([10.0, 10.00005, 10.1]), np.array([2.0, 2.0, 2.0]))
    ['J004000.00+020000.0', 'J004000.00+020000.0', 'J004024.00+020000.0']
    >>> sources.assign(np.array([10.1]), np.array([2.0]))
    ['J004024.00+020000.0']
    """

    def __init__(
        self,
        ra: Floats = _EMPTY,
        dec: Floats = _EMPTY,
        source_ids: Sequence[str] | NDArray[Any] = (),
        radius: float = MATCH_RADIUS,
    ) -> None:
        self._radius = 2.0 * np.sin(np.radians(radius / 3600.0) / 2.0)  # as a chord of the unit sphere
        # A source's first position is its anchor, also where the archive names the source.
        packed: Any = np.asarray(source_ids, dtype=_STRING_DTYPE)  # a third of what as many Python texts take
        places = pa.table({"name": pa.array(packed), "place": np.arange(len(packed))})
        first = np.sort(places.group_by("name").aggregate([("place", "min")])["place_min"].to_numpy())
        self._names = packed[first]
        self._keys: set[str] | None = None
        self._tree = _build_kdtree(_to_unit_vectors(ra[first], dec[first]))
        self._recent_positions = np.zeros((0, 3))  # anchors since the tree was made

    def assign_sources(self, ra: Floats, dec: Floats, source_keys: Sequence[str] = ()) -> list[str]:
        """Return the source of each new spectrum; what opens one is known from then on.

        Parameters
        ----------
        ra, dec : (N,) [deg, ICRS]
        source_keys : (N,) str, optional
            The archive's own name of the source; where it is not empty it decides, not the position.
        """
        xyz = _to_unit_vectors(ra, dec)
        keys = source_keys or [""] * len(ra)
        own = [key or name for key, name in zip(keys, format_position_names(ra, dec), strict=True)]
        points = np.concatenate([self._recent_positions, xyz])
        indexed, before = self._tree.n, len(self._recent_positions)
        among_old = self._tree.query_ball_point(xyz, self._radius)
        among_young = _build_kdtree(points).query_ball_point(xyz, self._radius)
        opens = np.ones(len(points), dtype=bool)
        if self._keys is None and any(keys):
            self._keys = set(self._names.tolist())
        opened = self._keys or set[str]()
        result = list(own)
        for i, key in enumerate(keys):
            here = before + i
            if key:
                opens[here] = key not in opened
                opened.add(key)
                continue
            near = [(self._tree.data[j], self._names[j]) for j in among_old[i]]
            near += [
                (points[j], self._names[indexed + j] if j < before else result[j - before])
                for j in among_young[i]
                if j < here and opens[j]
            ]
            if near:
                result[i] = str(min(near, key=lambda anchor: math.dist(anchor[0], xyz[i]))[1])
                opens[here] = False
        self._names = np.concatenate([self._names, np.asarray(result, dtype=_STRING_DTYPE)[opens[before:]]])
        self._recent_positions = points[opens]
        if len(self._recent_positions) > 0.25 * indexed + 16_384:  # seldom enough to cost next to nothing
            self._tree = _build_kdtree(np.concatenate([self._tree.data, self._recent_positions]))
            self._recent_positions = np.zeros((0, 3))
        return result


def format_position_names(ra: Floats, dec: Floats) -> list[str]:
    """IAU-style names, JHHMMSS.ss±DDMMSS.s: the position to about 0.1 arcsec."""
    # In whole hundredths of a second and tenths of an arcsecond: 359.999999° is 00h, not 24h.
    ticks = np.round(ra * 24_000.0).astype(np.int64) % 8_640_000
    tenths = np.round(np.abs(dec) * 36_000.0).astype(np.int64)
    return [
        f"J{t // 360_000:02}{t // 6_000 % 60:02}{t // 100 % 60:02}.{t % 100:02}"
        f"{sign}{d // 36_000:02}{d // 600 % 60:02}{d // 10 % 60:02}.{d % 10}"
        for t, d, sign in zip(
            ticks.tolist(), tenths.tolist(), np.where(np.signbit(dec), "-", "+").tolist(), strict=True
        )
    ]


def separation(ra: Floats, dec: Floats, other_ra: Floats, other_dec: Floats) -> Floats:
    """Return how far apart positions are, (N,) [arcsec], from (N,) [deg, ICRS] each."""
    chord = np.linalg.norm(_to_unit_vectors(ra, dec) - _to_unit_vectors(other_ra, other_dec), axis=1)
    return np.degrees(2.0 * np.arcsin(np.minimum(chord / 2.0, 1.0))) * 3600.0


def _build_kdtree(points: Floats) -> KDTree:
    # Half the time to build, a little more to ask: right for positions spread over the sky.
    return KDTree(points, balanced_tree=False, compact_nodes=False)


def _to_unit_vectors(ra: Floats, dec: Floats) -> NDArray[np.float64]:
    a, d = np.radians(ra), np.radians(dec)
    return np.column_stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])
