"""Split of the sources into training and validation, and pairs of spectra of the same source."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def is_validation(source_ids: Sequence[str], fraction: float) -> NDArray[np.bool_]:
    """Return which sources are held out for validation.

    The split follows from a hash of each source's name. It therefore stays the same when the archive grows,
    and all spectra of a source are on the same side.

    Parameters
    ----------
    source_ids : sequence of str
        Source of each spectrum.
    fraction : float
        Expected fraction of sources that are held out, 0 to 1.

    Returns
    -------
    ndarray of shape (n_spectra,)
        True for spectra that are held out.

    Examples
    --------
    >>> bool(is_validation([f"J{i}" for i in range(10_000)], 0.15).mean().round(2) == 0.15)
    True
    """
    hashes = [hashlib.blake2b(name.encode(), digest_size=8).digest() for name in source_ids]
    position = np.array([int.from_bytes(h, "big") for h in hashes], dtype=np.float64) / 2.0**64
    return position < fraction


def find_repeat_pairs(source_ids: Sequence[str]) -> NDArray[np.int64]:
    """Return the first two spectra of each source that has more than one.

    Parameters
    ----------
    source_ids : sequence of str
        Source of each spectrum.

    Returns
    -------
    ndarray of shape (n_pairs, 2)
        Positions in `source_ids`.

    Examples
    --------
    >>> find_repeat_pairs(["a", "b", "a", "c", "b", "a"])
    array([[0, 2],
           [1, 4]])
    """
    positions: dict[str, list[int]] = {}
    for position, source in enumerate(source_ids):
        positions.setdefault(source, []).append(position)
    pairs = [duplicates[:2] for duplicates in positions.values() if len(duplicates) > 1]
    return np.array(pairs, np.int64).reshape(-1, 2)
