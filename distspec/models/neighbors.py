"""Exact nearest neighbors of spectra in latent space.

The distance is Euclidean between posterior means, each latent in units of the root-mean-square width of its
posteriors over the run, so that 1 is the effect of noise alone. Latents that carry no information are no
wider than their posteriors and hardly contribute.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from numpy.typing import NDArray
from scipy.spatial import KDTree

from distspec.clustering.feature_space import scale_by_posterior_width
from distspec.core import schema
from distspec.core.errors import NotFoundError
from distspec.core.spectrum import Floats, Floats32

MIN_TREE_QUERIES = 64
"""Number of query points from which a k-d tree is faster than all distances to each point."""
MAX_SUGGESTIONS = 5
"""Number of names suggested for an unknown one."""
SUGGESTION_WINDOW = 200
"""Names on either side, in alphabetical order, among which the suggestions are sought."""
LATENT_PREFIXES = ("z_mean_", "z_log_var_")
"""Prefixes of the columns of latents in the table ``objects``."""
OUTPUT_COLUMNS = (
    "object_id",
    "z",
    "cluster_label",
    "class_id",
    "class_name",
    "galaxy_type",
    "galaxy_type_confidence",
)
"""Columns of ``objects`` that are returned for each neighbor."""


@dataclass(frozen=True)
class NeighborIndex:
    """The spectra of a catalog as points of latent space.

    Attributes
    ----------
    table : pyarrow.Table
        `OUTPUT_COLUMNS` and ``anomaly_score``, one row per spectrum.
    latents : ndarray of shape (n_spectra, n_latents)
        Posterior means in posterior widths.
    """

    table: pa.Table
    latents: Floats32

    @classmethod
    def read(cls, objects: ds.Dataset) -> NeighborIndex:
        """Read the spectra of the published table ``objects``.

        Parameters
        ----------
        objects : pyarrow.dataset.Dataset
            The published table ``objects``.

        Returns
        -------
        NeighborIndex
        """
        names = [name for name in objects.schema.names if name.startswith(LATENT_PREFIXES)]
        table = objects.to_table(columns=[*OUTPUT_COLUMNS, "anomaly_score", *names])
        return cls(table.select([*OUTPUT_COLUMNS, "anomaly_score"]), extract_latents(table))

    def find_rows(self, object_ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the rows of spectra in the table.

        Parameters
        ----------
        object_ids : sequence of str
            Identifiers of spectra.

        Returns
        -------
        ndarray of int64, shape (n_spectra,)
            Row of each spectrum, in the order of `object_ids`.

        Raises
        ------
        NotFoundError
            If a spectrum is not in the catalog; the message suggests similar names.
        """
        names: list[str] = self.table["object_id"].to_pylist()
        row_of = {name: row for row, name in enumerate(names)}
        for object_id in object_ids:
            if object_id not in row_of:
                raise NotFoundError(
                    f"no spectrum {object_id!r} in the current catalog{_suggest_names(object_id, names)}"
                )
        return np.array([row_of[object_id] for object_id in object_ids], np.int64)

    def query(self, points: Floats32, n_neighbors: int) -> tuple[Floats, NDArray[np.int64]]:
        """Find the nearest spectra to points of latent space.

        Parameters
        ----------
        points : ndarray of shape (n_points, n_latents)
            Points in posterior widths.
        n_neighbors : int
            Number of spectra for each point; at most all of them are returned.

        Returns
        -------
        distances : ndarray of shape (n_points, n_neighbors)
            Distances in posterior widths, increasing.
        rows : ndarray of shape (n_points, n_neighbors)
            Rows of the spectra in the table.
        """
        n_neighbors = min(n_neighbors, len(self.latents))
        if len(points) >= MIN_TREE_QUERIES:
            tree: Any = KDTree(self.latents)  # scipy's stubs do not allow a list for k
            distances, rows = tree.query(points, k=list(range(1, n_neighbors + 1)))
            return distances, rows.astype(np.int64)
        shape = len(points), n_neighbors
        distances, rows = np.empty(shape), np.empty(shape, np.int64)
        for i, point in enumerate(points):
            distances[i], rows[i] = find_nearest(self.latents, point, n_neighbors)
        return distances, rows

    def find_similar(self, object_ids: Sequence[str], n_neighbors: int) -> pa.Table:
        """Find the nearest other spectra to spectra of the catalog.

        Parameters
        ----------
        object_ids : sequence of str
            Names of the spectra.
        n_neighbors : int
            Number of neighbors of each.

        Returns
        -------
        pyarrow.Table
            Columns `distspec.core.schema.SIMILAR_SPECTRA_SCHEMA`, nearest first.

        Raises
        ------
        NotFoundError
            If a spectrum is not in the catalog.
        """
        rows = self.find_rows(object_ids)
        distances, nearest = self.query(self.latents[rows], n_neighbors + 1)
        others = np.array(
            [np.flatnonzero(near != row)[:n_neighbors] for near, row in zip(nearest, rows, strict=True)]
        ).reshape(len(rows), -1)
        neighbors = self.table.take(pa.array(np.take_along_axis(nearest, others, 1).ravel()))
        n_others = others.shape[1]
        values = {name: neighbors[name] for name in OUTPUT_COLUMNS} | {
            "query_id": np.repeat(np.array(object_ids, object), n_others),
            "rank": np.tile(np.arange(1, n_others + 1), len(rows)),
            "distance": np.take_along_axis(distances, others, 1).ravel(),
        }
        return schema.build_table(values, schema.SIMILAR_SPECTRA_SCHEMA, {})


def find_nearest(points: Floats32, point: Floats32, n_neighbors: int) -> tuple[Floats, NDArray[np.int64]]:
    """Find the nearest of many points to one point, by all distances.

    Parameters
    ----------
    points : ndarray of shape (n_points, n_latents)
        The points to search.
    point : ndarray of shape (n_latents,)
        The query.
    n_neighbors : int
        Number of points to find; at most all of them are returned.

    Returns
    -------
    distances : ndarray of shape (n_neighbors,)
        Distances, increasing.
    rows : ndarray of shape (n_neighbors,)
        Rows of ``points``.
    """
    n_neighbors = min(n_neighbors, len(points))
    difference = points - point
    squared = np.einsum("nd,nd->n", difference, difference)
    nearest = np.argpartition(squared, n_neighbors - 1)[:n_neighbors]
    # In double precision, as the k-d tree computes them.
    distance = np.linalg.norm(points[nearest].astype(np.float64) - point, axis=1)
    order = np.lexsort((nearest, distance))
    return distance[order], nearest[order]


def extract_latents(objects: pa.Table) -> Floats32:
    """Return the latents of rows of ``objects`` in posterior widths.

    Parameters
    ----------
    objects : pyarrow.Table
        Rows with the columns of latents, which begin with `LATENT_PREFIXES`.

    Returns
    -------
    ndarray of shape (n_spectra, n_latents)
    """
    z_mean, z_log_var = (
        np.stack(
            [objects[name].to_numpy() for name in objects.schema.names if name.startswith(prefix)], axis=1
        )
        for prefix in LATENT_PREFIXES
    )
    return scale_by_posterior_width(z_mean, z_log_var)


def _suggest_names(name: str, names: Sequence[str]) -> str:
    """Suggest names that contain an unknown one, or else have a similar beginning or end."""
    folded = name.casefold()
    similar = [known for known in names if folded and folded in known.casefold()][:MAX_SUGGESTIONS]
    if not similar:
        candidates: list[str] = []
        for key in (lambda text: text, lambda text: text[::-1]):
            ordered = sorted(names, key=key)
            position = bisect_left(ordered, key(name), key=key)
            candidates += ordered[max(position - SUGGESTION_WINDOW, 0) : position + SUGGESTION_WINDOW]
        similar = get_close_matches(name, dict.fromkeys(candidates), MAX_SUGGESTIONS, cutoff=0.5)
    return (
        f"; similar names: {', '.join(similar)}"
        if similar
        else f": none of its {len(names):,} names is similar"
    )
