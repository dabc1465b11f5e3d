"""Spectra of the published catalog that are similar to given ones."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from distspec.catalog.editions import open_tables
from distspec.core.errors import ConfigError
from distspec.models.neighbors import NeighborIndex


def find_similar(root: str, object_id: str | Sequence[str], n_neighbors: int = 10) -> pa.Table:
    """Find the spectra of the published catalog that are most similar to given ones in latent space.

    The search is exact, by the Bayes factors of posteriors (`distspec.models.neighbors`). Other spectra of
    the same source are included.

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project.
    object_id : str or sequence of str
        Spectra of the catalog.
    n_neighbors : int
        Number of neighbors of each.

    Returns
    -------
    pyarrow.Table
        Columns ``query_id``, ``rank``, ``object_id``, ``ln_bayes_factor``, ``z``,
        ``cluster_label``, ``class_id``, ``class_name``, ``galaxy_type``, ``galaxy_type_confidence``; most
        similar first.

    Raises
    ------
    ConfigError
        If `n_neighbors` is below 1.
    NotFoundError
        If nothing is published, or a spectrum is not in the catalog.
    """
    if n_neighbors < 1:
        raise ConfigError(f"{n_neighbors} neighbors were asked for: the number must be at least 1")
    object_ids = [object_id] if isinstance(object_id, str) else list(object_id)
    return NeighborIndex.read(open_tables(root)["objects"]).find_similar(object_ids, n_neighbors)
