"""The most similar spectra in latent space, by the Bayes factor of their posteriors.

With the encoder's posteriors q(z) and the prior p(z) = N(0, I), the Bayes factor of two spectra is
∫ q₁(z) q₂(z) / p(z) dz: how many times more probable the one spectrum is if it has the latents of the other
than if nothing is known of them. Noisy latents, which could be those of many spectra, count little, and
agreement in rare latents counts more than in common ones. The search is exact.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from difflib import get_close_matches
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from numpy.typing import NDArray

from distspec.clustering.feature_space import scale_by_posterior_width
from distspec.core import schema
from distspec.core.compiled import njit_nogil
from distspec.core.errors import NotFoundError
from distspec.core.spectrum import Floats, Floats32

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


class Posteriors(NamedTuple):
    """Posteriors of spectra in latent space.

    Attributes
    ----------
    mean : ndarray of shape (n_spectra, n_latents)
        Posterior means.
    variance : ndarray of shape (n_spectra, n_latents)
        Posterior variances, at most that of the prior, 1.
    """

    mean: Floats32
    variance: Floats32

    @classmethod
    def from_log_variance(cls, z_mean: Floats32, z_log_var: Floats32) -> Posteriors:
        """Return the posteriors that an encoder gives.

        Parameters
        ----------
        z_mean, z_log_var : ndarray of shape (n_spectra, n_latents)
            Posterior means and log variances.

        Returns
        -------
        Posteriors
        """
        return cls(z_mean.astype(np.float32), np.exp(np.minimum(z_log_var, 0.0)).astype(np.float32))

    def take(self, rows: NDArray[np.int64]) -> Posteriors:
        """Return the posteriors of some spectra.

        Parameters
        ----------
        rows : ndarray of int64, shape (n_rows,)
            Rows of the spectra.

        Returns
        -------
        Posteriors
        """
        return Posteriors(self.mean[rows], self.variance[rows])


@dataclass(frozen=True)
class NeighborIndex:
    """The spectra of a catalog with their posteriors.

    Attributes
    ----------
    table : pyarrow.Table
        `OUTPUT_COLUMNS` and ``anomaly_score``, one row per spectrum.
    posteriors : Posteriors
        Their posteriors.
    """

    table: pa.Table
    posteriors: Posteriors

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
        posteriors = Posteriors.from_log_variance(*_stack_latents(table))
        return cls(table.select([*OUTPUT_COLUMNS, "anomaly_score"]), posteriors)

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

    def query(self, posteriors: Posteriors, n_neighbors: int) -> tuple[Floats, NDArray[np.int64]]:
        """Find the most similar spectra to others.

        Parameters
        ----------
        posteriors : Posteriors
            Posteriors of the other spectra.
        n_neighbors : int
            Number of spectra to find for each; at most all of them are returned.

        Returns
        -------
        log_bayes_factors : ndarray of shape (n_queries, n_neighbors)
            Natural logarithms of the Bayes factors, decreasing.
        rows : ndarray of shape (n_queries, n_neighbors)
            Rows of the spectra in the table.
        """
        shape = len(posteriors.mean), min(n_neighbors, len(self.posteriors.mean))
        log_bayes_factors, rows = np.empty(shape), np.empty(shape, np.int64)

        def fill(i: int) -> None:
            query = posteriors.take(np.array([i]))
            log_bayes_factors[i], rows[i] = find_nearest(self.posteriors, query, n_neighbors)

        with ThreadPoolExecutor() as pool:
            list(pool.map(fill, range(len(rows))))
        return log_bayes_factors, rows

    def find_similar(self, object_ids: Sequence[str], n_neighbors: int) -> pa.Table:
        """Find the other spectra that are most similar to spectra of the catalog.

        Parameters
        ----------
        object_ids : sequence of str
            Names of the spectra.
        n_neighbors : int
            Number of neighbors of each.

        Returns
        -------
        pyarrow.Table
            Columns `distspec.core.schema.SIMILAR_SPECTRA_SCHEMA`, most similar first.

        Raises
        ------
        NotFoundError
            If a spectrum is not in the catalog.
        """
        rows = self.find_rows(object_ids)
        log_bayes_factors, nearest = self.query(self.posteriors.take(rows), n_neighbors + 1)
        # A spectrum need not be the most similar one to itself, but it is never listed.
        n_others = min(n_neighbors, len(self.table) - 1)
        others = np.array(
            [np.flatnonzero(near != row)[:n_others] for near, row in zip(nearest, rows, strict=True)]
        ).reshape(len(rows), n_others)
        neighbors = self.table.take(pa.array(np.take_along_axis(nearest, others, 1).ravel()))
        values = {name: neighbors[name] for name in OUTPUT_COLUMNS} | {
            "query_id": np.repeat(np.array(object_ids, object), n_others),
            "rank": np.tile(np.arange(1, n_others + 1), len(rows)),
            "ln_bayes_factor": np.take_along_axis(log_bayes_factors, others, 1).ravel(),
        }
        return schema.build_table(values, schema.SIMILAR_SPECTRA_SCHEMA, {})


def find_nearest(
    posteriors: Posteriors, query: Posteriors, n_neighbors: int
) -> tuple[Floats, NDArray[np.int64]]:
    """Find the most similar of many spectra to one.

    Parameters
    ----------
    posteriors : Posteriors
        Posteriors of the spectra to search.
    query : Posteriors
        Posterior of the one spectrum.
    n_neighbors : int
        Number of spectra to find; at most all of them are returned.

    Returns
    -------
    log_bayes_factors : ndarray of shape (n_neighbors,)
        Natural logarithms of the Bayes factors, decreasing.
    rows : ndarray of shape (n_neighbors,)
        Rows of ``posteriors``; of equal factors the first row comes first.
    """
    n_neighbors = min(n_neighbors, len(posteriors.mean))
    log_bayes_factors = compute_log_bayes_factors(posteriors, query)
    nearest = np.argpartition(-log_bayes_factors, n_neighbors - 1)[:n_neighbors]
    order = np.lexsort((nearest, -log_bayes_factors[nearest]))
    return log_bayes_factors[nearest[order]], nearest[order]


def compute_log_bayes_factors(posteriors: Posteriors, query: Posteriors) -> Floats:
    """Compute the Bayes factors of one spectrum with many.

    Parameters
    ----------
    posteriors : Posteriors
        Posteriors of the many spectra.
    query : Posteriors
        Posterior of the one spectrum.

    Returns
    -------
    ndarray of shape (n_spectra,)
        Natural logarithms of the Bayes factors.

    Examples
    --------
    Two equal measurements of a latent are the more telling the rarer its value is; a spectrum of which
    nothing is known has a Bayes factor of 1 with any other.

    >>> known = Posteriors(np.float32([[0.0], [2.0]]), np.float32([[0.01], [0.01]]))
    >>> [round(float(compute_log_bayes_factors(known, known.take(np.array([i])))[i]), 2) for i in (0, 1)]
    [1.96, 3.97]
    >>> unknown = Posteriors(np.float32([[0.0]]), np.float32([[1.0]]))
    >>> np.allclose(compute_log_bayes_factors(known, unknown), 0.0)
    True
    """
    result = np.empty(len(posteriors.mean))
    _fill_log_bayes_factors(*posteriors, query.mean[0], query.variance[0], result)
    return result


@njit_nogil
def _fill_log_bayes_factors(
    mean: Floats32, variance: Floats32, query_mean: Floats32, query_variance: Floats32, result: Floats
) -> None:
    """Fill `result`, (n_spectra,).

    With variances v and u, means m and n, and d = m - n, the integral of each latent is the exponential of
    -(d² w - (m u + n v)²) / (2 (v + u) w), divided by √w, where w = v + u - v u.
    """
    for i in range(len(mean)):
        exponent, product = 0.0, 1.0
        for k in range(mean.shape[1]):
            v, u = np.float64(variance[i, k]), np.float64(query_variance[k])
            m, n = np.float64(mean[i, k]), np.float64(query_mean[k])
            w = v + u - v * u
            exponent += ((m - n) ** 2 * w - (m * u + n * v) ** 2) / ((v + u) * w)
            product *= w
            if product < 1e-200:  # its logarithm is expensive, and is taken rarely
                exponent, product = exponent + np.log(product), 1.0
        result[i] = -0.5 * (exponent + np.log(product))


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
    return scale_by_posterior_width(*_stack_latents(objects))


def _stack_latents(objects: pa.Table) -> tuple[Floats32, Floats32]:
    """Return posterior means and log variances, (n_spectra, n_latents) each."""
    z_mean, z_log_var = (
        np.stack(
            [objects[name].to_numpy() for name in objects.schema.names if name.startswith(prefix)], axis=1
        )
        for prefix in LATENT_PREFIXES
    )
    return z_mean, z_log_var


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
