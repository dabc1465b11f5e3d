"""The spectra nearest to others in latent space, exactly.

Distances are Euclidean between posterior means, each latent in units of its posteriors' root mean square
width over the run: along each, 1 is what noise alone does to a spectrum. A model leaves the scale of its
latents open, and those that say nothing of spectra are no wider than their posteriors: they hardly count.
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
from distspec.core.spectrum import Floats, Floats32

MIN_TREE_QUERIES = 64
"""From so many points on whose neighbours are looked for a tree is quicker than all distances to each."""
MAX_SUGGESTIONS, SUGGESTION_WINDOW = 5, 200
"""Names suggested for one that is unknown; names that begin or end most like it, of which they are taken."""
LATENT_PREFIXES = ("z_mean_", "z_log_var_")
"""What the columns of latents begin with."""
OUTPUT_COLUMNS = ("object_id", "z", "cluster_label", "class_id", "class_name", "galaxy_type", "galaxy_type_confidence")


@dataclass(frozen=True)
class NeighborIndex:
    """The spectra of the current catalogue as points.

    Attributes
    ----------
    table : Table
        `SHOWN`, and ``anomaly_score``.
    latents : (N, D)
        Latents in posterior widths.
    """

    table: pa.Table
    latents: Floats32

    @classmethod
    def read(cls, objects: ds.Dataset) -> NeighborIndex:
        """Read them from the table ``objects``."""
        names = [name for name in objects.schema.names if name.startswith(LATENT_PREFIXES)]
        table = objects.to_table(columns=[*OUTPUT_COLUMNS, "anomaly_score", *names])
        return cls(table.select([*OUTPUT_COLUMNS, "anomaly_score"]), extract_latents(table))

    def find_rows(self, object_ids: Sequence[str]) -> NDArray[np.int64]:
        """Return where spectra stand in the table.

        Raises
        ------
        ValueError
            When one is not there; names those most like it.
        """
        names: list[str] = self.table["object_id"].to_pylist()
        place = {name: i for i, name in enumerate(names)}
        for each in object_ids:
            if each not in place:
                raise ValueError(
                    f"no spectrum {each!r} in the current catalogue{_suggest_names(each, names)}"
                )
        return np.array([place[each] for each in object_ids], np.int64)

    def query(self, points: Floats32, n_neighbors: int) -> tuple[Floats, NDArray[np.int64]]:
        """Return how far the `n_neighbors` nearest spectra are from points, (M, D), and their rows, (M, n)."""
        n_neighbors = min(n_neighbors, len(self.latents))
        if len(points) >= MIN_TREE_QUERIES:
            tree: Any = KDTree(self.latents)  # its stubs know no list of neighbours
            distance, index = tree.query(points, k=list(range(1, n_neighbors + 1)))
            return distance, index.astype(np.int64)
        distances, indices = (
            np.empty((len(points), n_neighbors)),
            np.empty((len(points), n_neighbors), np.int64),
        )
        for i, point in enumerate(points):
            distances[i], indices[i] = find_nearest(self.latents, point, n_neighbors)
        return distances, indices

    def find_similar(self, object_ids: Sequence[str], n_neighbors: int) -> pa.Table:
        """Return the spectra nearest to some of them, as `similar`."""
        rows = self.find_rows(object_ids)
        distance, index = self.query(self.latents[rows], n_neighbors + 1)
        other = np.array(
            [_exclude_self(near, row, n_neighbors) for near, row in zip(index, rows, strict=True)]
        )
        other = other.reshape(len(rows), -1)
        found = self.table.take(pa.array(np.take_along_axis(index, other, 1).ravel()))
        values = {name: found[name] for name in OUTPUT_COLUMNS} | {
            "query_id": np.repeat(np.array(object_ids, object), other.shape[1]),
            "rank": np.tile(np.arange(1, other.shape[1] + 1), len(rows)),
            "distance": np.take_along_axis(distance, other, 1).ravel(),
        }
        return schema.build_table(values, schema.SIMILAR_SPECTRA_SCHEMA, {})


def find_nearest(points: Floats32, point: Floats32, n_neighbors: int) -> tuple[Floats, NDArray[np.int64]]:
    """Return how far the `n_neighbors` nearest of points, (N, D), are from one, (D,), and their rows; nearest first."""
    n_neighbors = min(n_neighbors, len(points))
    apart = points - point
    square = np.einsum("nd,nd->n", apart, apart)
    near = np.argpartition(square, n_neighbors - 1)[:n_neighbors]
    # In double precision, as a tree has them.
    exact = np.linalg.norm(points[near].astype(np.float64) - point, axis=1)
    order = np.lexsort((near, exact))
    return exact[order], near[order]


def extract_latents(objects: pa.Table) -> Floats32:
    """Return latents in posterior widths, (N, D), of rows of ``objects`` with the columns `LATENTS`."""
    z_mean, z_log_var = (
        np.stack([objects[name].to_numpy() for name in objects.schema.names if name.startswith(each)], axis=1)
        for each in LATENT_PREFIXES
    )
    return scale_by_posterior_width(z_mean, z_log_var)


def _exclude_self(neighbors: NDArray[np.int64], row: int, n_neighbors: int) -> NDArray[np.int64]:
    """Return which `n_neighbors` of a spectrum's nearest are others than itself."""
    return np.flatnonzero(neighbors != row)[:n_neighbors]


def _suggest_names(name: str, names: Sequence[str]) -> str:
    """Say which names are most like one: of those that hold it, or else begin or end like it."""
    folded = name.casefold()
    like = [name for name in names if folded and folded in name.casefold()][:MAX_SUGGESTIONS]
    if not like:
        around: list[str] = []
        for turned in (lambda name: name, lambda name: name[::-1]):
            ordered = sorted(names, key=turned)
            at = bisect_left(ordered, turned(name), key=turned)
            around += ordered[max(at - SUGGESTION_WINDOW, 0) : at + SUGGESTION_WINDOW]
        like = get_close_matches(name, dict.fromkeys(around), MAX_SUGGESTIONS, cutoff=0.5)
    return f"; near it: {', '.join(like)}" if like else f": it holds {len(names):,} others"
