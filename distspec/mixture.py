"""Gaussian mixtures, many at once: every start of a sweep, and what each says of points.

All trials of one k and covariance are fitted together (`em`), from the cells of k-means. On a CPU a trial's
bits depend on the points and its start alone, not on what else is fitted with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distspec import em
from distspec.kmeans import kmeans
from distspec.spectrum import Floats

COVARIANCES = "full", "tied", "diag"


@dataclass(frozen=True)
class Start:
    """One trial: so many Gaussians, their covariances (full, tied, diag), and the seed of its first means."""

    k: int
    covariance: str
    seed: int

    def __post_init__(self) -> None:
        if self.covariance not in COVARIANCES:
            raise ValueError(f"covariance {self.covariance!r}: use one of {', '.join(COVARIANCES)}")
        if self.k < 1 or self.seed < 0:
            raise ValueError(f"{self.k} Gaussians from seed {self.seed}: need k ≥ 1 and seed ≥ 0")


@dataclass(frozen=True)
class Mixture:
    """A fitted Gaussian mixture: plain arrays, so that it travels, and places new points span by span.

    weights : (K,)
    means : (K, D)
    covariances : (K, D, D)
        Whole whatever the fit was restricted to.
    log_likelihood : float
        Mean log density of the sample it was fitted to.
    bic : float
        Bayesian information criterion on that sample, lower is better.
    iterations : int
    converged : bool
        Whether the likelihood stood still before the last iteration allowed.
    """

    weights: Floats
    means: Floats
    covariances: Floats
    log_likelihood: float
    bic: float
    iterations: int
    converged: bool

    def posterior(self, x: Floats) -> Floats:
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
    starts: Sequence[Start],
    *,
    tolerance: float = 1e-3,
    max_iterations: int = 100,
    device: str = "cpu",
) -> list[Mixture]:
    """Fit a mixture from each start to points, (N, D).

    k-means from k-means++, in the points' own units, gives the first memberships; a trial ends when its mean
    log-likelihood changes by less than `tolerance`. Where fewer than k places are distinct some Gaussians end
    with a weight of nearly 0; variances never fall below `em.FLOOR` of the sample's.

    Parameters
    ----------
    x : (N, D)
    starts : sequence of Start
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
    sample = _Sample.of(x, max((start.k for start in starts), default=1), device)
    found: dict[int, Mixture] = {}
    for k in sorted({start.k for start in starts}):
        seeds = sorted({start.seed for start in starts if start.k == k})
        labels = dict(zip(seeds, (kmeans(sample.x, k, seed)[1] for seed in seeds), strict=True))
        for covariance in COVARIANCES:
            places = [i for i, each in enumerate(starts) if (each.k, each.covariance) == (k, covariance)]
            if places:
                first = torch.from_numpy(np.stack([labels[starts[i].seed] for i in places])).to(device)
                fitted = em.run(sample.z, first, k, covariance, tolerance, max_iterations)
                found |= dict(zip(places, _finished(sample, covariance, fitted), strict=True))
    return [found[place] for place in range(len(starts))]


def assign(mixtures: Sequence[Mixture], x: Floats, device: str = "cpu") -> NDArray[np.int32]:
    """Return the most probable Gaussian, (T, N), of points, (N, D), under each mixture."""
    sample = _Sample.of(x, 1, device)
    labels = np.empty((len(mixtures), len(x)), np.int32)
    for k in sorted({len(mixture.weights) for mixture in mixtures}):
        places = [i for i, mixture in enumerate(mixtures) if len(mixture.weights) == k]
        batch = sample.standardised([mixtures[i] for i in places])
        labels[places] = em.most_probable(sample.z, batch).cpu().numpy()
    return labels


class _Sample(NamedTuple):
    """Points as they are fitted: z = (x − shift) / scale, (N, D), of unit variance in each column."""

    x: Floats
    z: Tensor
    shift: Floats
    scale: Floats

    @classmethod
    def of(cls, x: Floats, least: int, device: str) -> _Sample:
        if len(x) < least:
            raise ValueError(f"{len(x)} points for {least} Gaussians: fit at most {len(x)}")
        if bad := int((~np.isfinite(x)).any(axis=1).sum()):
            raise ValueError(f"{bad} of {len(x)} points are not finite: leave them out")
        points = np.asarray(x, dtype=np.float64)
        shift, scale = points.mean(axis=0), points.std(axis=0)
        live = scale > 1e-12 * np.abs(shift)
        scale = np.where(live, scale, 1.0)
        return cls(points, torch.from_numpy((points - shift) / scale * live).to(device), shift, scale)

    def standardised(self, mixtures: Sequence[Mixture]) -> em.Batch:
        """Return mixtures of one k in z's coordinates."""
        means = np.stack([mixture.means for mixture in mixtures])
        covariances = np.stack([mixture.covariances for mixture in mixtures])
        parts = (
            np.stack([mixture.weights for mixture in mixtures]),
            (means - self.shift) / self.scale,
            covariances / np.outer(self.scale, self.scale),
        )
        return em.Batch(*(torch.from_numpy(part).to(self.z.device) for part in parts))


def _finished(sample: _Sample, covariance: str, fitted: em.Fitted) -> list[Mixture]:
    """Return mixtures in the points' own coordinates."""
    shift, scale = sample.shift, sample.scale
    n, d = sample.x.shape
    k = fitted.batch.weights.shape[1]
    shapes = {"full": k * d * (d + 1) // 2, "tied": d * (d + 1) // 2, "diag": k * d}[covariance]
    penalty = (k - 1 + k * d + shapes) * np.log(n)
    weights, means, covariances = (values.cpu().numpy() for values in fitted.batch)
    fits = fitted.log_likelihood.cpu().numpy() - np.log(scale).sum()
    return [
        Mixture(
            weights[t],
            means[t] * scale + shift,
            covariances[t] * np.outer(scale, scale),
            float(fits[t]),
            float(penalty - 2.0 * n * fits[t]),
            int(fitted.iterations[t]),
            bool(fitted.converged[t]),
        )
        for t in range(len(weights))
    ]
