"""NEEDS A DOCSTRING."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from distspec.catalog.editions import open_tables
from distspec.models.neighbors import NeighborIndex


def find_similar(root: str, object_id: str | Sequence[str], n_neighbors: int = 10) -> pa.Table:
    """Return the spectra of the current catalogue that are nearest to one of them, or to each of several.

    Exact: Euclidean distance of posterior means in units of posterior widths. Repeats of the same source are
    among them.

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project.
    object_id : str or sequence of str
    n_neighbors : int
        How many.

    Returns
    -------
    Table
        Rows ``query_id``, ``rank``, ``object_id``, ``distance`` [posterior widths], ``z``, ``cluster_label``,
        ``galaxy_type``, ``galaxy_type_confidence``; nearest first.

    Raises
    ------
    ValueError
        When a spectrum is not in the catalogue (it names those most like it), or `n_neighbors` is below 1.
    FileNotFoundError
        Before anything was published.
    """
    if n_neighbors < 1:
        raise ValueError(f"n = {n_neighbors}: ask for at least one neighbour")
    return NeighborIndex.read(open_tables(root)["objects"]).find_similar(
        [object_id] if isinstance(object_id, str) else list(object_id), n_neighbors
    )
