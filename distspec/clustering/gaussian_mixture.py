"""Gaussian mixtures, many at once: every start of a sweep, and what each says of points.

All trials of one k and covariance are fitted together (`em`), from the cells of k-means. On a CPU a trial's
bits depend on the points and its start alone, not on what else is fitted with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distspec.clustering import gaussian_mixture
from distspec.clustering.kmeans import kmeans
from distspec.core.spectrum import Floats

VARIANCE_FLOOR = 1e-6
"""Added to every variance, in units of the sample's own in that column; of 1 where the column is constant."""
_BLOCK_ROWS = 4096
"""Points in a block: with ten Gaussians, responsibilities that a CPU's second cache holds."""
_GPU_BLOCK_SIZE = 1 << 25
"""Responsibilities held at a time on a GPU."""
_TINY = 10.0 * np.finfo(np.float64).eps
MomentIndices = tuple[Tensor, Tensor]


class MixtureBatch(NamedTuple):
    """Mixtures of one k under way: weights (T, K), means (T, K, D), covariances (T, K, D, D)."""

    weights: Tensor
    means: Tensor
    covariances: Tensor

    def select(self, indices: Any) -> MixtureBatch:
        """Return some of them."""
        return MixtureBatch(*(values[indices] for values in self))


class EMResult(NamedTuple):
    """Mixtures, and (T,) each: mean log-likelihood, iterations taken, whether the likelihood stood still."""

    mixtures: MixtureBatch
    log_likelihood: Tensor
    n_iterations: Tensor
    converged: Tensor


def run_em(
    x_scaled: Tensor, init_labels: Tensor, k: int, covariance_type: str, tolerance: float, max_iterations: int
) -> EMResult:
    """Fit mixtures to points, (N, D), from first memberships, (T, N).

    A trial ends when its mean log-likelihood changes by less than `tolerance`, and leaves the batch.
    """
    pairs = _moment_indices(x_scaled, covariance_type)
    batch = _m_step(_label_moments(x_scaled, init_labels, k, pairs), pairs, covariance_type)
    before = x_scaled.new_full((len(init_labels),), -torch.inf)
    iterations = torch.zeros(len(init_labels), dtype=torch.int32, device=x_scaled.device)
    active = torch.arange(len(init_labels), device=x_scaled.device)
    for _ in range(max_iterations):
        sums, likelihood = _e_step(x_scaled, _log_density_coefficients(batch.select(active), pairs), pairs)
        for values, new in zip(batch, _m_step(sums, pairs, covariance_type), strict=True):
            values[active] = new
        rise = likelihood - before[active]
        before[active] = likelihood
        iterations[active] += 1
        active = active[rise.abs() >= tolerance]
        if not len(active):
            break
    converged = torch.ones_like(iterations, dtype=torch.bool)
    converged[active] = False
    return EMResult(
        batch, _e_step(x_scaled, _log_density_coefficients(batch, pairs), pairs)[1], iterations, converged
    )


def most_probable_components(x_scaled: Tensor, mixtures: MixtureBatch) -> Tensor:
    """Return the most probable Gaussian, (T, N), of points, (N, D)."""
    pairs = _moment_indices(x_scaled, "full")
    theta, row = _log_density_coefficients(mixtures, pairs), 0
    labels = torch.empty(len(theta), len(x_scaled), dtype=torch.int32, device=x_scaled.device)
    for features in _iterate_quadratic_features(x_scaled, pairs):
        span = slice(row, row := row + features.shape[1])
        for trials in _iterate_trial_slices(len(theta), theta.shape[1] * features.shape[1], x_scaled.device):
            labels[trials, span] = (theta[trials].clone() @ features).max(dim=1).indices.int()
    return labels


def _moment_indices(x_scaled: Tensor, covariance_type: str) -> MomentIndices:
    """Return the second moments that count: the upper triangle's, or the diagonal's alone."""
    d = x_scaled.shape[1]
    i, j = torch.triu_indices(d, d, device=x_scaled.device)
    return (i[i == j], j[i == j]) if covariance_type == "diag" else (i, j)


def _log_density_coefficients(batch: MixtureBatch, moment_indices: MomentIndices) -> Tensor:
    """Return the coefficients, (T, K, P), of log(weight × density) in the features."""
    weights, means, covariances = batch
    i, j = moment_indices
    roots = torch.linalg.cholesky(covariances)
    whiten = _invert_lower_triangular(roots)
    shifts = (whiten * means[..., None, :]).sum(dim=-1)
    linear = (whiten * shifts[..., None]).sum(dim=-2)
    constant = (
        weights.log()
        - roots.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)
        - 0.5 * (shifts.square().sum(dim=-1) + means.shape[-1] * np.log(2.0 * np.pi))
    )
    quadratic = (whiten[..., i] * whiten[..., j]).sum(dim=-2) * torch.where(i == j, -0.5, -1.0).to(means)
    return torch.cat([constant[..., None], linear, quadratic], dim=-1)


def _invert_lower_triangular(roots: Tensor) -> Tensor:
    """Return the inverses of lower triangles, (…, D, D), row by row.

    LAPACK's last bits depend on where in memory a small matrix lies; plain sums' do not.
    """
    inverse = torch.zeros_like(roots)
    for i in range(roots.shape[-1]):
        known = (roots[..., i, :i, None] * inverse[..., :i, :]).sum(dim=-2)
        inverse[..., i, :] = -known / roots[..., i, i, None]
        inverse[..., i, i] = 1.0 / roots[..., i, i]
    return inverse


def _e_step(x_scaled: Tensor, coefficients: Tensor, moment_indices: MomentIndices) -> tuple[Tensor, Tensor]:
    """Return Σ r φ, (T, K, P), of responsibilities r, and the mean log-likelihood, (T,): one pass."""
    n_trials, k, _ = coefficients.shape
    sums, likelihood = torch.zeros_like(coefficients), coefficients.new_zeros(n_trials)
    for features in _iterate_quadratic_features(x_scaled, moment_indices):
        for trials in _iterate_trial_slices(n_trials, k * features.shape[1], x_scaled.device):
            # A copy starts on a cache line wherever its trial stands: products' last bits depend on that.
            logits = coefficients[trials].clone() @ features
            r = logits.softmax(dim=1)
            # The likeliest Gaussian's logit, less the log of its responsibility, is log Σ exp logit.
            likelihood[trials] += (logits.amax(dim=1) - r.amax(dim=1).log()).sum(dim=1)
            sums[trials] += r @ features.T
    return sums, likelihood / len(x_scaled)


def _label_moments(x_scaled: Tensor, labels: Tensor, k: int, moment_indices: MomentIndices) -> Tensor:
    """Return Σ φ, (T, K, P), of the members of each label, (T, N)."""
    sums = x_scaled.new_zeros(len(labels), k, 1 + x_scaled.shape[1] + len(moment_indices[0]))
    row = 0
    for features in _iterate_quadratic_features(x_scaled, moment_indices):
        span = slice(row, row := row + features.shape[1])
        for trials in _iterate_trial_slices(len(labels), k * features.shape[1], x_scaled.device):
            members = labels[trials, None, span] == torch.arange(k, device=x_scaled.device)[:, None]
            sums[trials] += members.to(x_scaled.dtype) @ features.T
    return sums


def _iterate_trial_slices(n_trials: int, size_per_trial: int, device: torch.device) -> Iterator[slice]:
    """Yield as many trials at a time as fit: one on a CPU, so that products never depend on the others."""
    at_once = 1 if device.type == "cpu" else max(1, _GPU_BLOCK_SIZE // size_per_trial)
    for start in range(0, n_trials, at_once):
        yield slice(start, start + at_once)


def _iterate_quadratic_features(x_scaled: Tensor, moment_indices: MomentIndices) -> Iterator[Tensor]:
    """Yield (1, z, and products of pairs of z), (P, n), of one block of points after the other."""
    for block in x_scaled.T.chunk(-(-len(x_scaled) // _BLOCK_ROWS), dim=1):
        yield torch.cat(
            [torch.ones_like(block[:1]), block, block[moment_indices[0]] * block[moment_indices[1]]]
        )


def _m_step(sums: Tensor, moment_indices: MomentIndices, covariance_type: str) -> MixtureBatch:
    """Return the mixtures of greatest likelihood for the sums, (T, K, P)."""
    i, j = moment_indices
    d = int(i[-1]) + 1  # the last pair is the last column's own
    sizes = sums[..., 0] + _TINY
    means = sums[..., 1 : 1 + d] / sizes[..., None]
    covariances = sums.new_zeros(*sizes.shape, d, d)
    second = sums[..., 1 + d :] / sizes[..., None] - means[..., i] * means[..., j]
    covariances[..., i, j] = second
    covariances[..., j, i] = second
    weights = sizes / sizes.sum(dim=1, keepdim=True)
    if covariance_type == "tied":
        pooled = (weights[..., None, None] * covariances).sum(dim=1, keepdim=True)
        covariances = pooled.expand_as(covariances).clone()
    covariances.diagonal(dim1=-2, dim2=-1).clamp_(min=0.0).add_(VARIANCE_FLOOR)
    return MixtureBatch(weights, means, covariances)


COVARIANCE_TYPES = "full", "tied", "diag"


@dataclass(frozen=True)
class MixtureInit:
    """One trial: so many Gaussians, their covariances (full, tied, diag), and the seed of its first means."""

    k: int
    covariance_type: str
    seed: int

    def __post_init__(self) -> None:
        if self.covariance_type not in COVARIANCE_TYPES:
            raise ValueError(f"covariance {self.covariance_type!r}: use one of {', '.join(COVARIANCE_TYPES)}")
        if self.k < 1 or self.seed < 0:
            raise ValueError(f"{self.k} Gaussians from seed {self.seed}: need k ≥ 1 and seed ≥ 0")


@dataclass(frozen=True)
class GaussianMixture:
    """A fitted Gaussian mixture: plain arrays, so that it travels, and places new points span by span.

    weights : (K,)
    means : (K, D)
    covariances : (K, D, D)
        Whole whatever the fit was restricted to.
    log_likelihood : float
        Mean log density of the sample it was fitted to.
    bic : float
        Bayesian information criterion on that sample, lower is better.
    n_iterations : int
    converged : bool
        Whether the likelihood stood still before the last iteration allowed.
    """

    weights: Floats
    means: Floats
    covariances: Floats
    log_likelihood: float
    bic: float
    n_iterations: int
    converged: bool

    def predict_proba(self, x: Floats) -> Floats:
        """Return the probabilities, (N, K), that points, (N, D), belong to each Gaussian."""
        joint = self._log_joint(x)
        joint -= joint.max(axis=1, keepdims=True)
        np.exp(joint, out=joint)
        joint /= joint.sum(axis=1, keepdims=True)
        return joint

    def log_prob(self, x: Floats) -> Floats:
        """Return the log density, (N,), at points, (N, D)."""
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
    """Fit a mixture from each start to points, (N, D).

    k-means from k-means++, in the points' own units, gives the first memberships; a trial ends when its mean
    log-likelihood changes by less than `tolerance`. Where fewer than k places are distinct some Gaussians end
    with a weight of nearly 0; variances never fall below `em.FLOOR` of the sample's.

    Parameters
    ----------
    x : (N, D)
    inits : sequence of Start
    tolerance : float
    max_iterations : int
    device : str
        Where to compute, as torch names it.

    Returns
    -------
    list of Mixture
        In the order of the starts.

    Raises
    ------
    ValueError
        When values are not finite, or a start wants more Gaussians than there are points.
    """
    sample = _StandardizedPoints.from_points(x, max((start.k for start in inits), default=1), device)
    found: dict[int, GaussianMixture] = {}
    for k in sorted({start.k for start in inits}):
        seeds = sorted({start.seed for start in inits if start.k == k})
        labels = dict(zip(seeds, (kmeans(sample.x, k, seed)[1] for seed in seeds), strict=True))
        for covariance in COVARIANCE_TYPES:
            places = [i for i, each in enumerate(inits) if (each.k, each.covariance_type) == (k, covariance)]
            if places:
                first = torch.from_numpy(np.stack([labels[inits[i].seed] for i in places])).to(device)
                fitted = gaussian_mixture.run_em(
                    sample.x_scaled, first, k, covariance, tolerance, max_iterations
                )
                found |= dict(zip(places, _unscale_mixtures(sample, covariance, fitted), strict=True))
    return [found[place] for place in range(len(inits))]


def assign_components(
    mixtures: Sequence[GaussianMixture], x: Floats, device: str = "cpu"
) -> NDArray[np.int32]:
    """Return the most probable Gaussian, (T, N), of points, (N, D), under each mixture."""
    sample = _StandardizedPoints.from_points(x, 1, device)
    labels = np.empty((len(mixtures), len(x)), np.int32)
    for k in sorted({len(mixture.weights) for mixture in mixtures}):
        places = [i for i, mixture in enumerate(mixtures) if len(mixture.weights) == k]
        batch = sample.standardize([mixtures[i] for i in places])
        labels[places] = gaussian_mixture.most_probable_components(sample.x_scaled, batch).cpu().numpy()
    return labels


class _StandardizedPoints(NamedTuple):
    """Points as they are fitted: z = (x − shift) / scale, (N, D), of unit variance in each column."""

    x: Floats
    x_scaled: Tensor
    shift: Floats
    scale: Floats

    @classmethod
    def from_points(cls, x: Floats, min_points: int, device: str) -> _StandardizedPoints:
        if len(x) < min_points:
            raise ValueError(f"{len(x)} points for {min_points} Gaussians: fit at most {len(x)}")
        if bad := int((~np.isfinite(x)).any(axis=1).sum()):
            raise ValueError(f"{bad} of {len(x)} points are not finite: leave them out")
        points = np.asarray(x, dtype=np.float64)
        shift, scale = points.mean(axis=0), points.std(axis=0)
        live = scale > 1e-12 * np.abs(shift)
        scale = np.where(live, scale, 1.0)
        return cls(points, torch.from_numpy((points - shift) / scale * live).to(device), shift, scale)

    def standardize(self, mixtures: Sequence[GaussianMixture]) -> gaussian_mixture.MixtureBatch:
        """Return mixtures of one k in z's coordinates."""
        means = np.stack([mixture.means for mixture in mixtures])
        covariances = np.stack([mixture.covariances for mixture in mixtures])
        parts = (
            np.stack([mixture.weights for mixture in mixtures]),
            (means - self.shift) / self.scale,
            covariances / np.outer(self.scale, self.scale),
        )
        return gaussian_mixture.MixtureBatch(
            *(torch.from_numpy(part).to(self.x_scaled.device) for part in parts)
        )


def _unscale_mixtures(
    points: _StandardizedPoints, covariance_type: str, em_result: gaussian_mixture.EMResult
) -> list[GaussianMixture]:
    """Return mixtures in the points' own coordinates."""
    shift, scale = points.shift, points.scale
    n, d = points.x.shape
    k = em_result.mixtures.weights.shape[1]
    shapes = {"full": k * d * (d + 1) // 2, "tied": d * (d + 1) // 2, "diag": k * d}[covariance_type]
    penalty = (k - 1 + k * d + shapes) * np.log(n)
    weights, means, covariances = (values.cpu().numpy() for values in em_result.mixtures)
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
