"""Assignment of spectra to sources on the sky, by position or by the archive's own identifier."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distspec.core.spectrum import Floats

if TYPE_CHECKING:
    from scipy.spatial import KDTree

MATCH_RADIUS = 0.5
"""Default largest distance [arcsec] of a spectrum from the first position of its source."""
KEY_RADIUS = 10.0
"""Default largest distance [arcsec] of a spectrum from the first position of its source in the archive.

Most nearby stars move by less than 1 arcsec per year, and libraries of spectra span about a decade;
different objects of one name are usually much further apart."""
_EMPTY = np.zeros(0)
_STRING_DTYPE = np.dtypes.StringDType()


@dataclass(frozen=True)
class KeyConflict:
    """A spectrum that is too far from the source that its archive names.

    Attributes
    ----------
    key : str
        The archive's identifier of the source.
    ra, dec : float
        Position [deg, ICRS] of the spectrum.
    distance : float
        Distance [arcsec] from the first position of the source.
    source_id : str
        Source to which the spectrum is assigned by its position.
    """

    key: str
    ra: float
    dec: float
    distance: float
    source_id: str


class SourceMatcher:
    """Assigns spectra to sources, one batch after the other.

    A spectrum joins the nearest source whose first position lies within `radius`; otherwise it starts a new
    source that is named after its own position. Spectra are processed in the order given, so the result
    depends on the listing alone and not on how it is cut into batches.

    Parameters
    ----------
    ra, dec : ndarray of shape (n_known,), optional
        Positions [deg, ICRS] of the spectra assigned so far, in order; NaN if unknown.
    source_ids : sequence of str or ndarray of shape (n_known,), optional
        Their sources.
    radius : float, optional
        Largest distance [arcsec] from the first position of a source.
    key_radius : float, optional
        Largest distance [arcsec] from the first position of the source that the archive names.

    Attributes
    ----------
    conflicts : list of KeyConflict
        Spectra whose positions contradict the archive's identifier, in order.

    Examples
    --------
    >>> matcher = SourceMatcher()
    >>> matcher.assign_sources(np.array([10.0, 10.00005, 10.1]), np.array([2.0, 2.0, 2.0]))
    ['J004000.00+020000.0', 'J004000.00+020000.0', 'J004024.00+020000.0']
    >>> matcher.assign_sources(np.array([10.1]), np.array([2.0]))
    ['J004024.00+020000.0']
    """

    def __init__(
        self,
        ra: Floats = _EMPTY,
        dec: Floats = _EMPTY,
        source_ids: Sequence[str] | NDArray[Any] = (),
        radius: float = MATCH_RADIUS,
        key_radius: float = KEY_RADIUS,
    ) -> None:
        self._radius = _to_chord(radius)
        self._key_radius = _to_chord(key_radius)
        self.conflicts: list[KeyConflict] = []
        # The first position of a source is its anchor, also where the archive identifies the source.
        located = np.isfinite(ra) & np.isfinite(dec)
        ra, dec = ra[located], dec[located]
        # A third of the memory of Python strings.
        source_ids = np.asarray(source_ids, dtype=_STRING_DTYPE)[located]
        packed: Any = source_ids
        table = pa.table({"name": pa.array(packed), "position": np.arange(len(packed))})
        first = np.sort(table.group_by("name").aggregate([("position", "min")])["position_min"].to_numpy())
        self._names = packed[first]
        self._keys: dict[str, tuple[float, ...]] | None = None  # first position of each source
        self._tree = _build_kdtree(_to_unit_vectors(ra[first], dec[first]))
        self._recent_positions = np.zeros((0, 3))  # anchors that are not in the tree yet

    def assign_sources(self, ra: Floats, dec: Floats, source_keys: Sequence[str] = ()) -> list[str]:
        """Return the source of each new spectrum, and remember the new sources.

        Parameters
        ----------
        ra, dec : ndarray of shape (n_spectra,)
            Positions [deg, ICRS]; NaN if unknown, which needs a source key.
        source_keys : sequence of str, optional
            The archive's identifier of each spectrum's source; where it is not empty it decides, unless the
            spectrum is further than the key radius from the first position of that source.

        Returns
        -------
        list of str
            Source identifiers.
        """
        keys = source_keys or [""] * len(ra)
        located = np.isfinite(ra) & np.isfinite(dec)
        if not located.all():
            with_position = [key for key, known in zip(keys, located, strict=True) if known]
            assigned = iter(self.assign_sources(ra[located], dec[located], with_position))
            return [next(assigned) if known else key for key, known in zip(keys, located, strict=True)]
        xyz = _to_unit_vectors(ra, dec)
        position_names = format_position_names(ra, dec)
        result = [key or name for key, name in zip(keys, position_names, strict=True)]
        points = np.concatenate([self._recent_positions, xyz])
        n_indexed, n_recent = self._tree.n, len(self._recent_positions)
        near_indexed = self._tree.query_ball_point(xyz, self._radius)
        near_recent = _build_kdtree(points).query_ball_point(xyz, self._radius)
        is_anchor = np.ones(len(points), dtype=bool)
        if self._keys is None and any(keys):
            positions = np.concatenate([self._tree.data, self._recent_positions]).tolist()
            self._keys = dict(zip(self._names.tolist(), map(tuple, positions), strict=True))
        known_keys = self._keys if self._keys is not None else {}
        conflicts: list[tuple[int, float]] = []
        for i, key in enumerate(keys):
            row = n_recent + i
            if key:
                is_anchor[row] = key not in known_keys
                chord = math.dist(known_keys.setdefault(key, tuple(xyz[i].tolist())), xyz[i])
                if chord <= self._key_radius:
                    continue
                conflicts.append((i, chord))
                result[i], is_anchor[row] = position_names[i], True
            anchors = [(self._tree.data[j], self._names[j]) for j in near_indexed[i]]
            anchors += [
                (points[j], self._names[n_indexed + j] if j < n_recent else result[j - n_recent])
                for j in near_recent[i]
                if j < row and is_anchor[j]
            ]
            if anchors:
                result[i] = str(min(anchors, key=lambda anchor: math.dist(anchor[0], xyz[i]))[1])
                is_anchor[row] = False
        self.conflicts += [
            KeyConflict(keys[i], float(ra[i]), float(dec[i]), _to_arcsec(chord), result[i])
            for i, chord in conflicts
        ]
        self._add_anchors(np.asarray(result, dtype=_STRING_DTYPE)[is_anchor[n_recent:]], points[is_anchor])
        return result

    def _add_anchors(self, names: NDArray[Any], recent_positions: NDArray[np.float64]) -> None:
        """Remember new sources, and rebuild the tree once many of them are not in it."""
        self._names = np.concatenate([self._names, names])
        self._recent_positions = recent_positions
        # The threshold makes rebuilding rare enough that its cost is negligible.
        if len(self._recent_positions) > 0.25 * self._tree.n + 16_384:
            self._tree = _build_kdtree(np.concatenate([self._tree.data, self._recent_positions]))
            self._recent_positions = np.zeros((0, 3))


def format_position_names(ra: Floats, dec: Floats) -> list[str]:
    """Return IAU-style names JHHMMSS.ss±DDMMSS.s, which give the position to about 0.1 arcsec.

    Parameters
    ----------
    ra, dec : ndarray of shape (n,)
        Positions [deg, ICRS].

    Returns
    -------
    list of str
        One name for each position.
    """
    # In integer hundredths of a second and tenths of an arcsecond, so that 359.999999 deg is 00h and not 24h.
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
    """Return the angular distance between pairs of positions.

    Parameters
    ----------
    ra, dec, other_ra, other_dec : ndarray of shape (n,)
        Positions [deg, ICRS].

    Returns
    -------
    ndarray of shape (n,)
        Distances [arcsec].
    """
    chord = np.linalg.norm(_to_unit_vectors(ra, dec) - _to_unit_vectors(other_ra, other_dec), axis=1)
    return np.degrees(2.0 * np.arcsin(np.minimum(chord / 2.0, 1.0))) * 3600.0


def _to_chord(arcsec: float) -> float:
    """Return the chord of the unit sphere under an angle [arcsec]."""
    return 2.0 * math.sin(math.radians(arcsec / 3600.0) / 2.0)


def _to_arcsec(chord: float) -> float:
    return math.degrees(2.0 * math.asin(min(chord / 2.0, 1.0))) * 3600.0


def _build_kdtree(points: Floats) -> KDTree:
    from scipy.spatial import KDTree  # only ingestion needs it

    # Unbalanced trees take half the time to build and little more to query for positions spread over the sky.
    return KDTree(points, balanced_tree=False, compact_nodes=False)


def _to_unit_vectors(ra: Floats, dec: Floats) -> NDArray[np.float64]:
    a, d = np.radians(ra), np.radians(dec)
    return np.column_stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])
