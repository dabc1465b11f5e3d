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

from distspec.clustering.feature_space import in_posterior_widths
from distspec.core import schema
from distspec.core.spectrum import Floats, Floats32

MANY = 64
"""From so many points on whose neighbours are looked for a tree is quicker than all distances to each."""
NEAR_MATCHES, AROUND = 5, 200
"""Names suggested for one that is unknown; names that begin or end most like it, of which they are taken."""
LATENTS = ("z_mean_", "z_log_var_")
"""What the columns of latents begin with."""
SHOWN = ("object_id", "z", "cluster_label", "class_id", "class_name", "kind", "kind_confidence")


@dataclass(frozen=True)
class Spectra:
    """The spectra of the current catalogue as points.

    Attributes
    ----------
    table : Table
        `SHOWN`, and ``anomaly_score``.
    points : (N, D)
        Latents in posterior widths.
    """

    table: pa.Table
    points: Floats32

    @classmethod
    def read(cls, objects: ds.Dataset) -> Spectra:
        """Read them from the table ``objects``."""
        names = [name for name in objects.schema.names if name.startswith(LATENTS)]
        table = objects.to_table(columns=[*SHOWN, "anomaly_score", *names])
        return cls(table.select([*SHOWN, "anomaly_score"]), latents_of(table))

    def rows(self, object_ids: Sequence[str]) -> NDArray[np.int64]:
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
                raise ValueError(f"no spectrum {each!r} in the current catalogue{_hint(each, names)}")
        return np.array([place[each] for each in object_ids], np.int64)

    def nearest(self, points: Floats32, n: int) -> tuple[Floats, NDArray[np.int64]]:
        """Return how far the `n` nearest spectra are from points, (M, D), and their rows, (M, n)."""
        n = min(n, len(self.points))
        if len(points) >= MANY:
            tree: Any = KDTree(self.points)  # its stubs know no list of neighbours
            distance, index = tree.query(points, k=list(range(1, n + 1)))
            return distance, index.astype(np.int64)
        distances, indices = np.empty((len(points), n)), np.empty((len(points), n), np.int64)
        for i, point in enumerate(points):
            distances[i], indices[i] = nearest_to(self.points, point, n)
        return distances, indices

    def similar(self, object_ids: Sequence[str], n: int) -> pa.Table:
        """Return the spectra nearest to some of them, as `similar`."""
        rows = self.rows(object_ids)
        distance, index = self.nearest(self.points[rows], n + 1)
        other = np.array([_others(near, row, n) for near, row in zip(index, rows, strict=True)])
        other = other.reshape(len(rows), -1)
        found = self.table.take(pa.array(np.take_along_axis(index, other, 1).ravel()))
        values = {name: found[name] for name in SHOWN} | {
            "query_id": np.repeat(np.array(object_ids, object), other.shape[1]),
            "rank": np.tile(np.arange(1, other.shape[1] + 1), len(rows)),
            "distance": np.take_along_axis(distance, other, 1).ravel(),
        }
        return schema.conform(values, schema.SIMILAR, {})


def nearest_to(points: Floats32, point: Floats32, n: int) -> tuple[Floats, NDArray[np.int64]]:
    """Return how far the `n` nearest of points, (N, D), are from one, (D,), and their rows; nearest first."""
    n = min(n, len(points))
    apart = points - point
    square = np.einsum("nd,nd->n", apart, apart)
    near = np.argpartition(square, n - 1)[:n]
    # In double precision, as a tree has them.
    exact = np.linalg.norm(points[near].astype(np.float64) - point, axis=1)
    order = np.lexsort((near, exact))
    return exact[order], near[order]


def latents_of(objects: pa.Table) -> Floats32:
    """Return latents in posterior widths, (N, D), of rows of ``objects`` with the columns `LATENTS`."""
    z_mean, z_log_var = (
        np.stack([objects[name].to_numpy() for name in objects.schema.names if name.startswith(each)], axis=1)
        for each in LATENTS
    )
    return in_posterior_widths(z_mean, z_log_var)


def _others(near: NDArray[np.int64], row: int, n: int) -> NDArray[np.int64]:
    """Return which `n` of a spectrum's nearest are others than itself."""
    return np.flatnonzero(near != row)[:n]


def _hint(wanted: str, names: Sequence[str]) -> str:
    """Say which names are most like one: of those that hold it, or else begin or end like it."""
    folded = wanted.casefold()
    like = [name for name in names if folded and folded in name.casefold()][:NEAR_MATCHES]
    if not like:
        around: list[str] = []
        for turned in (lambda name: name, lambda name: name[::-1]):
            ordered = sorted(names, key=turned)
            at = bisect_left(ordered, turned(wanted), key=turned)
            around += ordered[max(at - AROUND, 0) : at + AROUND]
        like = get_close_matches(wanted, dict.fromkeys(around), NEAR_MATCHES, cutoff=0.5)
    return f"; near it: {', '.join(like)}" if like else f": it holds {len(names):,} others"
