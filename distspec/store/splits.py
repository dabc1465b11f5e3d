"""NEEDS A DOCSTRING."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def is_validation(source_ids: Sequence[str], fraction: float) -> NDArray[np.bool_]:
    """Tell which sources are held out for validation.

    From a hash of the source's name: an archive that grows moves nobody, and repeats of a source never
    straddle the split.

    Parameters
    ----------
    source_ids : (N,) str
    fraction : float
        Expected share of sources held out, 0 to 1.

    Returns
    -------
    (N,) bool

    Examples
    --------
    >>> bool(in_validation([f"J{i}" for i in range(10_000)], 0.15).mean().round(2) == 0.15)
    True
    """
    hashes = [hashlib.blake2b(name.encode(), digest_size=8).digest() for name in source_ids]
    position = np.array([int.from_bytes(h, "big") for h in hashes], dtype=np.float64) / 2.0**64
    return position < fraction


def find_repeat_pairs(source_ids: Sequence[str]) -> NDArray[np.int64]:
    """Return the first two places of each source that is there more than once, (n, 2).

    Examples
    --------
    >>> repeats(["a", "b", "a", "c", "b", "a"])
    array([[0, 2],
           [1, 4]])
    """
    places: dict[str, list[int]] = {}
    for place, source in enumerate(source_ids):
        places.setdefault(source, []).append(place)
    pairs = [seen[:2] for seen in places.values() if len(seen) > 1]
    return np.array(pairs, np.int64).reshape(-1, 2)
