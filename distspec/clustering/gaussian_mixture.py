"""Gaussian mixtures fitted in batches by expectation-maximization.

All mixtures with the same number of components and covariance type are fitted together, from the cells of
k-means. On a CPU the result of a fit depends on the points and its initialization alone, bit for bit, not on
the rest of the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from distspec.clustering.kmeans import kmeans
from distspec.core.spectrum import Floats

VARIANCE_FLOOR = 1e-6
"""Added to every variance, relative to the variance of the column; absolute if the column is constant."""
_BLOCK_ROWS = 4096
"""Number of points in a block; the responsibilities of ten components fit into a CPU's second-level cache."""
_GPU_BLOCK_SIZE = 1 << 25
"""Number of responsibilities held at a time on a GPU."""
_TINY = 10.0 * np.finfo(np.float64).eps
COVARIANCE_TYPES = "full", "tied", "diag"


class MixtureBatch(NamedTuple):
    """Parameters of n_fits mixtures with k components each.

    Attributes
    ----------
    weights : Tensor of shape (n_fits, k)
        Weights of the components.
    means : Tensor of shape (n_fits, k, n_dims)
        Means of the components.
    covariances : Tensor of shape (n_fits, k, n_dims, n_dims) or (n_fits, 1, n_dims, n_dims)
        Covariance matrices of the components; one for all if they are tied.
    """

    weights: Tensor
    means: Tensor
    covariances: Tensor

    def select(self, indices: Any) -> MixtureBatch:
        """Return the mixtures at some indices.

        Parameters
        ----------
        indices : Tensor of int64 or bool, slice
            Positions of the mixtures along the first axis, or a mask of shape (n_fits,).
        """
        return MixtureBatch(*(values[indices] for values in self))


class EMResult(NamedTuple):
    """Result of `run_em`.

    Attributes
    ----------
    mixtures : MixtureBatch
        Fitted parameters.
    log_likelihood : Tensor of shape (n_fits,)
        Mean log-likelihood of the points.
    n_iterations : Tensor of int, shape (n_fits,)
        Number of iterations.
    converged : Tensor of bool, shape (n_fits,)
        Whether the log-likelihood converged before the iteration limit.
    """

    mixtures: MixtureBatch
    log_likelihood: Tensor
    n_iterations: Tensor
    converged: Tensor


def run_em(
    x_scaled: Tensor, init_labels: Tensor, k: int, covariance_type: str, tolerance: float, max_iterations: int
) -> EMResult:
    """Fit mixtures to points by expectation-maximization.

    Parameters
    ----------
    x_scaled : Tensor of shape (n_points, n_dims)
        Points with unit variance in each column.
    init_labels : Tensor of int, shape (n_fits, n_points)
        Initial component of each point.
    k : int
        Number of components.
    covariance_type : {"full", "tied", "diag"}
        Restriction of the covariances.
    tolerance : float
        A fit ends, and leaves the batch, when its mean log-likelihood changes by less than this.
    max_iterations : int
        Largest number of iterations.
    """
    moments = _SecondMoments.from_points(x_scaled, covariance_type)
    batch = _m_step(_label_moments(x_scaled, init_labels, k, moments), moments)
    before = x_scaled.new_full((len(init_labels),), -torch.inf)
    iterations = torch.zeros(len(init_labels), dtype=torch.int32, device=x_scaled.device)
    active = torch.arange(len(init_labels), device=x_scaled.device)
    for _ in range(max_iterations):
        coefficients = _log_density_coefficients(batch.select(active), moments)
        sums, likelihood = _e_step(x_scaled, coefficients, moments)
        for values, new in zip(batch, _m_step(sums, moments), strict=True):
            values[active] = new
        rise = likelihood - before[active]
        before[active] = likelihood
        iterations[active] += 1
        active = active[rise.abs() >= tolerance]
        if not len(active):
            break
    converged = torch.ones_like(iterations, dtype=torch.bool)
    converged[active] = False
    likelihood = _e_step(x_scaled, _log_density_coefficients(batch, moments), moments)[1]
    return EMResult(batch, likelihood, iterations, converged)


class _SecondMoments(NamedTuple):
    """Products of coordinates that are summed for each component, and those of all points.

    Tied covariances need none for each component: the quadratic form of a log density is then the same for
    all components, so that it cancels in the responsibilities, and only its mean over the points counts.

    Attributes
    ----------
    covariance_type : str
        Restriction of the covariances.
    i, j : Tensor of int64, shape (n_products,)
        Coordinates of the products: the upper triangle, or the diagonal.
    total : Tensor of shape (n_products,)
        Mean of each product over all points, which only tied covariances need; otherwise 0.
    """

    covariance_type: str
    i: Tensor
    j: Tensor
    total: Tensor

    @classmethod
    def from_points(cls, x_scaled: Tensor, covariance_type: str) -> _SecondMoments:
        d = x_scaled.shape[1]
        i, j = torch.triu_indices(d, d, device=x_scaled.device)
        if covariance_type == "diag":
            i, j = i[i == j], j[i == j]
        total = x_scaled.new_zeros(len(i))
        for block in _iterate_blocks(x_scaled) if covariance_type == "tied" else ():
            total += (block[i] * block[j]).sum(dim=1)
        return cls(covariance_type, i, j, total / len(x_scaled))

    @property
    def is_tied(self) -> bool:
        """Whether all components have the same covariance."""
        return self.covariance_type == "tied"

    def iterate_features(self, x_scaled: Tensor) -> Iterator[Tensor]:
        """Yield 1, the coordinates and their products for each block of points, (n_features, n_block)."""
        for block in _iterate_blocks(x_scaled):
            products = [] if self.is_tied else [block[self.i] * block[self.j]]
            yield torch.cat([torch.ones_like(block[:1]), block, *products])


def _iterate_blocks(x_scaled: Tensor) -> Iterator[Tensor]:
    """Yield blocks of points, (n_dims, n_block)."""
    yield from x_scaled.T.chunk(-(-len(x_scaled) // _BLOCK_ROWS), dim=1)


def _log_density_coefficients(batch: MixtureBatch, moments: _SecondMoments) -> Tensor:
    """Return the coefficients of log(weight × density) in the features, (n_fits, k, n_features)."""
    weights, means, covariances = batch
    constant = weights.log() - 0.5 * means.shape[-1] * np.log(2.0 * np.pi)
    if moments.covariance_type == "diag":
        variances = covariances.diagonal(dim1=-2, dim2=-1)
        linear, quadratic = means / variances, -0.5 / variances
        constant = constant - 0.5 * (variances.log() + means * linear).sum(dim=-1)
        return torch.cat([constant[..., None], linear, quadratic], dim=-1)
    roots = torch.linalg.cholesky(covariances)
    whiten = _invert_lower_triangular(roots)
    shifts = (whiten * means[..., None, :]).sum(dim=-1)
    linear = (whiten * shifts[..., None]).sum(dim=-2)
    constant = constant - roots.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)
    constant = constant - 0.5 * shifts.square().sum(dim=-1)
    precision = torch.zeros_like(whiten[..., 0, moments.i])
    for row in whiten.unbind(dim=-2):
        precision += row[..., moments.i] * row[..., moments.j]
    quadratic = precision * torch.where(moments.i == moments.j, -0.5, -1.0).to(means)
    if moments.is_tied:
        constant = constant + (quadratic * moments.total).sum(dim=-1)
        return torch.cat([constant[..., None], linear], dim=-1)
    return torch.cat([constant[..., None], linear, quadratic], dim=-1)


def _invert_lower_triangular(roots: Tensor) -> Tensor:
    """Return the inverses of lower triangular matrices, row by row.

    The last bits of LAPACK's result depend on the memory alignment of a small matrix; those of plain sums do
    not.
    """
    inverse = torch.zeros_like(roots)
    for i in range(roots.shape[-1]):
        known = (roots[..., i, :i, None] * inverse[..., :i, :]).sum(dim=-2)
        inverse[..., i, :] = -known / roots[..., i, i, None]
        inverse[..., i, i] = 1.0 / roots[..., i, i]
    return inverse


def _e_step(x_scaled: Tensor, coefficients: Tensor, moments: _SecondMoments) -> tuple[Tensor, Tensor]:
    """Return sums of features weighted by responsibility, (n_fits, k, n_features), and the log-likelihood."""
    n_trials, k, _ = coefficients.shape
    sums, likelihood = torch.zeros_like(coefficients), coefficients.new_zeros(n_trials)
    for features in moments.iterate_features(x_scaled):
        for trials in _iterate_trial_slices(n_trials, k * features.shape[1], x_scaled.device):
            # The last bits of a product depend on memory alignment; a copy always starts on a cache line.
            logits = coefficients[trials].clone() @ features
            r = logits.softmax(dim=1)
            # log Σ exp(logit) is the largest logit minus the log of its responsibility.
            likelihood[trials] += (logits.amax(dim=1) - r.amax(dim=1).log()).sum(dim=1)
            sums[trials] += r @ features.T
    return sums, likelihood / len(x_scaled)


def _label_moments(x_scaled: Tensor, labels: Tensor, k: int, moments: _SecondMoments) -> Tensor:
    """Return the features summed over the members of each component, (n_fits, k, n_features)."""
    n_features = 1 + x_scaled.shape[1] + (0 if moments.is_tied else len(moments.i))
    sums = x_scaled.new_zeros(len(labels), k, n_features)
    row = 0
    for features in moments.iterate_features(x_scaled):
        span = slice(row, row := row + features.shape[1])
        for trials in _iterate_trial_slices(len(labels), k * features.shape[1], x_scaled.device):
            members = labels[trials, None, span] == torch.arange(k, device=x_scaled.device)[:, None]
            sums[trials] += members.to(x_scaled.dtype) @ features.T
    return sums


def _iterate_trial_slices(n_trials: int, size_per_trial: int, device: torch.device) -> Iterator[slice]:
    """Yield slices of fits to process at a time: one on a CPU, where results must not depend on the batch."""
    at_once = 1 if device.type == "cpu" else max(1, _GPU_BLOCK_SIZE // size_per_trial)
    for start in range(0, n_trials, at_once):
        yield slice(start, start + at_once)


def _m_step(sums: Tensor, moments: _SecondMoments) -> MixtureBatch:
    """Return the mixtures of maximum likelihood for summed features."""
    _, i, j, total = moments
    d = int(i[-1]) + 1  # the last moment is the variance of the last column
    sizes = sums[..., 0] + _TINY
    weights = sizes / sizes.sum(dim=1, keepdim=True)
    means = sums[..., 1 : 1 + d] / sizes[..., None]
    of_means = means[..., i] * means[..., j]
    if moments.is_tied:
        second = (total - (weights[..., None] * of_means).sum(dim=1))[:, None]
    else:
        second = sums[..., 1 + d :] / sizes[..., None] - of_means
    covariances = sums.new_zeros(*second.shape[:2], d, d)
    covariances[..., i, j] = second
    covariances[..., j, i] = second
    covariances.diagonal(dim1=-2, dim2=-1).clamp_(min=0.0).add_(VARIANCE_FLOOR)
    return MixtureBatch(weights, means, covariances)


@dataclass(frozen=True)
class MixtureInit:
    """How a mixture is initialized.

    Attributes
    ----------
    k : int
        Number of components.
    covariance_type : {"full", "tied", "diag"}
        Restriction of the covariances.
    seed : int
        Seed of the k-means that gives the initial components.
    """

    k: int
    covariance_type: str
    seed: int

    def __post_init__(self) -> None:
        if self.covariance_type not in COVARIANCE_TYPES:
            raise ValueError(
                f"covariance_type {self.covariance_type!r}: choose from {', '.join(COVARIANCE_TYPES)}"
            )
        if self.k < 1 or self.seed < 0:
            raise ValueError(f"k = {self.k}, seed = {self.seed}: k ≥ 1 and seed ≥ 0 must hold")


@dataclass(frozen=True)
class GaussianMixture:
    """A fitted Gaussian mixture, as plain arrays.

    Attributes
    ----------
    weights : ndarray of shape (k,)
        Weights of the components.
    means : ndarray of shape (k, n_dims)
        Means.
    covariances : ndarray of shape (k, n_dims, n_dims)
        Full covariance matrices for every covariance type of the fit.
    log_likelihood : float
        Mean log density of the fitted points.
    bic : float
        Bayesian information criterion on the fitted points; lower is better.
    n_iterations : int
        Number of iterations of the fit.
    converged : bool
        Whether the fit converged before the iteration limit.
    """

    weights: Floats
    means: Floats
    covariances: Floats
    log_likelihood: float
    bic: float
    n_iterations: int
    converged: bool

    def predict_proba(self, x: Floats) -> Floats:
        """Return the probability that each point belongs to each component.

        Parameters
        ----------
        x : ndarray of shape (n_points, n_dims)
            Points.

        Returns
        -------
        ndarray of shape (n_points, k)
        """
        joint = self._log_joint(x)
        joint -= joint.max(axis=1, keepdims=True)
        np.exp(joint, out=joint)
        joint /= joint.sum(axis=1, keepdims=True)
        return joint

    def log_prob(self, x: Floats) -> Floats:
        """Return the log density at points.

        Parameters
        ----------
        x : ndarray of shape (n_points, n_dims)
            Points.

        Returns
        -------
        ndarray of shape (n_points,)
        """
        joint = self._log_joint(x)
        return np.logaddexp.reduce(joint, axis=1)

    def _log_joint(self, x: Floats) -> Floats:
        roots = np.linalg.cholesky(self.covariances)
        joint = np.empty((len(x), len(self.weights)))
        for k, (weight, mean, root) in enumerate(zip(self.weights, self.means, roots, strict=True)):
            whitened = (x - mean) @ np.linalg.inv(root).T
            constant = np.log(weight) - np.log(root.diagonal()).sum() - 0.5 * len(mean) * np.log(2.0 * np.pi)
            joint[:, k] = constant - 0.5 * np.einsum("nd,nd->n", whitened, whitened)
        return joint


def fit_mixtures(
    x: Floats,
    inits: Sequence[MixtureInit],
    *,
    tolerance: float = 1e-3,
    max_iterations: int = 100,
    device: str = "cpu",
) -> list[GaussianMixture]:
    """Fit a Gaussian mixture from each initialization to the same points.

    Initial components are the cells of k-means from k-means++, in the points' own units. Variances never fall
    below `VARIANCE_FLOOR` of the sample's. If fewer than k points are distinct, some weights become nearly 0.

    Parameters
    ----------
    x : ndarray of shape (n_points, n_dims)
        Finite points.
    inits : sequence of MixtureInit
        Number of components, covariance type and seed of each mixture.
    tolerance : float
        A fit ends when its mean log-likelihood changes by less than this.
    max_iterations : int
        Largest number of iterations.
    device : str
        Torch device on which to compute.

    Returns
    -------
    list of GaussianMixture
        In the order of `inits`.

    Raises
    ------
    ValueError
        If a point is not finite or there are fewer points than components.
    """
    sample = _StandardizedPoints.from_points(x, max((init.k for init in inits), default=1), device)
    mixtures: dict[int, GaussianMixture] = {}
    for k in sorted({init.k for init in inits}):
        seeds = sorted({init.seed for init in inits if init.k == k})
        labels = dict(zip(seeds, (kmeans(sample.x, k, seed)[1] for seed in seeds), strict=True))
        for covariance_type in COVARIANCE_TYPES:
            indices = [
                i for i, init in enumerate(inits) if (init.k, init.covariance_type) == (k, covariance_type)
            ]
            if indices:
                init_labels = torch.from_numpy(np.stack([labels[inits[i].seed] for i in indices])).to(device)
                result = run_em(sample.x_scaled, init_labels, k, covariance_type, tolerance, max_iterations)
                mixtures |= dict(
                    zip(indices, _unscale_mixtures(sample, covariance_type, result), strict=True)
                )
    return [mixtures[i] for i in range(len(inits))]


class _StandardizedPoints(NamedTuple):
    """Points, and the same points standardized to zero mean and unit variance in each column."""

    x: Floats
    x_scaled: Tensor
    shift: Floats
    scale: Floats

    @classmethod
    def from_points(cls, x: Floats, min_points: int, device: str) -> _StandardizedPoints:
        if len(x) < min_points:
            raise ValueError(f"{len(x)} points for {min_points} components: fit at most {len(x)}")
        if bad := int((~np.isfinite(x)).any(axis=1).sum()):
            raise ValueError(f"{bad} of {len(x)} points are not finite: leave them out")
        points = np.asarray(x, dtype=np.float64)
        shift, scale = points.mean(axis=0), points.std(axis=0)
        live = scale > 1e-12 * np.abs(shift)
        scale = np.where(live, scale, 1.0)
        return cls(points, torch.from_numpy((points - shift) / scale * live).to(device), shift, scale)


def _unscale_mixtures(
    points: _StandardizedPoints, covariance_type: str, em_result: EMResult
) -> list[GaussianMixture]:
    """Return the mixtures of a batch in the points' own units."""
    shift, scale = points.shift, points.scale
    n, d = points.x.shape
    k = em_result.mixtures.weights.shape[1]
    n_covariance_parameters = {"full": k * d * (d + 1) // 2, "tied": d * (d + 1) // 2, "diag": k * d}
    penalty = (k - 1 + k * d + n_covariance_parameters[covariance_type]) * np.log(n)
    weights, means, covariances = (values.cpu().numpy() for values in em_result.mixtures)
    covariances = np.broadcast_to(covariances, (len(weights), k, d, d))
    fits = em_result.log_likelihood.cpu().numpy() - np.log(scale).sum()
    return [
        GaussianMixture(
            weights[t],
            means[t] * scale + shift,
            covariances[t] * np.outer(scale, scale),
            float(fits[t]),
            float(penalty - 2.0 * n * fits[t]),
            int(em_result.n_iterations[t]),
            bool(em_result.converged[t]),
        )
        for t in range(len(weights))
    ]
