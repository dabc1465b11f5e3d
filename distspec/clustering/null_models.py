"""Null models: distributions without classes that are fitted to a sample, and draws from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import gammaln, ndtri

from distspec.clustering.config import COPULA, GAUSSIAN, NULL_MODELS, OBSERVED, PERMUTED, STUDENT_T
from distspec.clustering.plan import DatasetSpec
from distspec.core.spectrum import Floats

MAX_DOF = 200.0
"""Largest number of degrees of freedom of a t distribution, which is then close to a Gaussian."""
N_EM_STEPS = 50


def draw_null_data(x: Floats, dataset: DatasetSpec, seed: int) -> Floats:
    """Draw data without the structure of a sample.

    Parameters
    ----------
    x : ndarray of shape (n_points, n_dims)
        The sample.
    dataset : DatasetSpec
        Null model and number of the draw. "gaussian": a Gaussian of the same mean and covariance. "permuted":
        each column is shuffled independently, which keeps its distribution. "copula": a Gaussian copula,
        which keeps the distribution of each column and the rank correlations. "student_t": a multivariate t
        distribution. "data": the sample itself is returned.
    seed : int
        Seed of the run.

    Returns
    -------
    ndarray of shape (n_points, n_dims)
    """
    if dataset.null_model == OBSERVED or not x.size or not np.ptp(x, axis=0).any():
        return (
            x  # points that are all equal, as features of measurements that no spectrum covers, have no null
        )
    rng = np.random.default_rng([seed, NULL_MODELS.index(dataset.null_model), dataset.number])
    return _DRAW[dataset.null_model](x, rng)


def _draw_gaussian(x: Floats, rng: np.random.Generator) -> Floats:
    covariance = np.atleast_2d(np.cov(x.T))
    return rng.multivariate_normal(x.mean(axis=0), covariance, len(x), check_valid="ignore", method="eigh")


def _draw_permuted(x: Floats, rng: np.random.Generator) -> Floats:
    return rng.permuted(x, axis=0)


def _draw_copula(x: Floats, rng: np.random.Generator) -> Floats:
    """Sort each column in the order of a column of a Gaussian with the correlations of its normal scores."""
    from scipy.stats import rankdata  # slow to import, and not needed by what only scales latents

    normal_scores = ndtri(rankdata(x, axis=0) / (len(x) + 1.0))
    order = _draw_gaussian(normal_scores, rng).argsort(axis=0)
    drawn = np.empty_like(x)
    np.put_along_axis(drawn, order, np.sort(x, axis=0), axis=0)
    return drawn


@dataclass(frozen=True)
class _PrincipalComponents:
    """Standardized principal components of a sample, without those of no variance.

    Attributes
    ----------
    mean : ndarray of shape (n_dims,)
        Mean of the sample.
    axes : ndarray of shape (n_components, n_dims)
        Principal axes times the standard deviation along them.
    components : ndarray of shape (n_points, n_components)
        Components of the sample, of unit variance.
    """

    mean: Floats
    axes: Floats
    components: Floats

    @classmethod
    def from_sample(cls, x: Floats) -> _PrincipalComponents:
        mean = x.mean(axis=0)
        variance, vectors = np.linalg.eigh(np.atleast_2d(np.cov(x.T)))
        is_used = variance > 1e-10 * variance.max(initial=0.0)
        axes = (vectors[:, is_used] * np.sqrt(variance[is_used])).T
        return cls(mean, axes, (x - mean) @ vectors[:, is_used] / np.sqrt(variance[is_used]))

    def invert(self, components: Floats) -> Floats:
        """Return the points that have these components."""
        return self.mean + components @ self.axes


def _draw_student_t(x: Floats, rng: np.random.Generator) -> Floats:
    sample = _PrincipalComponents.from_sample(x)
    drawn: Any = fit_student_t(sample.components).rvs(len(x), random_state=rng)
    return sample.invert(drawn.reshape(sample.components.shape))


def fit_student_t(x: Floats) -> Any:
    """Fit a multivariate t distribution by maximum likelihood.

    Parameters
    ----------
    x : ndarray of shape (n_points, n_dims)
        Points whose covariance is not singular.

    Returns
    -------
    scipy.stats.multivariate_t
        The frozen distribution; its degrees of freedom lie between 1 and `MAX_DOF`.

    References
    ----------
    Liu & Rubin 1995, Statistica Sinica 5, 19 (the algorithm ECME).
    """
    from scipy.optimize import minimize_scalar
    from scipy.stats import multivariate_t

    n, n_dims = x.shape
    location, scatter, dof = x.mean(axis=0), np.atleast_2d(np.cov(x.T)), 10.0
    for _ in range(N_EM_STEPS):
        offset = x - location
        distance = np.einsum("nd,dn->n", offset, np.linalg.solve(scatter, offset.T))

        def negative_log_likelihood(log_dof: float, distance: Floats = distance) -> float:
            dof = np.exp(log_dof)
            half = 0.5 * (dof + n_dims)
            constant = gammaln(half) - gammaln(0.5 * dof) - 0.5 * n_dims * np.log(dof)
            return float(half * np.log1p(distance / dof).sum() - n * constant)

        best: Any = minimize_scalar(negative_log_likelihood, bounds=(0.0, np.log(MAX_DOF)), method="bounded")
        dof = float(np.exp(best.x))
        weights = (dof + n_dims) / (dof + distance)
        location = weights @ x / weights.sum()
        scatter = ((x - location).T * weights) @ (x - location) / n
    distribution: Any = multivariate_t  # pyright infers from its defaults that it takes integers alone
    return distribution(location, scatter, dof)


_DRAW: Mapping[str, Callable[[Floats, np.random.Generator], Floats]] = {
    GAUSSIAN: _draw_gaussian,
    PERMUTED: _draw_permuted,
    COPULA: _draw_copula,
    STUDENT_T: _draw_student_t,
}
