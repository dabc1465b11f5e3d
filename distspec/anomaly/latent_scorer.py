"""Anomaly scores in latent space, by density, distance to neighbors and isolation, relative to a sample."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import NearestNeighbors

from distspec.clustering.gaussian_mixture import GaussianMixture, MixtureInit, fit_mixtures
from distspec.core.spectrum import Floats32

N_NEIGHBORS = 10
"""Rank of the neighbor to which the distance is taken."""
N_REFERENCE = 10_000
"""Largest number of points of the sample among which neighbors are searched."""
N_TREES, MAX_SAMPLES = 200, 512
"""Trees of the isolation forest, and points from which each is grown."""
SPECTRA_PER_COMPONENT, MAX_COMPONENTS = 100, 10
"""Points per component of the Gaussian mixture, and the largest number of components."""
MIN_COMPONENT_WEIGHT = 0.02
"""Smallest weight of a component that describes ordinary spectra."""


@dataclass(frozen=True)
class LatentAnomalyScorer:
    """Model of the ordinary spectra in latent space; it can be sent to workers.

    Attributes
    ----------
    mixture : GaussianMixture or None
        The large components of a mixture fitted to the sample; None if the sample is too small.
    reference_points : ndarray of shape (n_reference, n_latents)
        Points of the sample.
    isolation_forest : sklearn.ensemble.IsolationForest or None
        Forest fitted to the sample.
    """

    mixture: GaussianMixture | None
    reference_points: Floats32
    isolation_forest: Any

    def compute_scores(self, latents: Floats32) -> dict[str, Floats32]:
        """Compute raw scores; higher is more anomalous.

        Parameters
        ----------
        latents : ndarray of shape (n_spectra, n_latents)
            Latents in units of the posterior widths.

        Returns
        -------
        dict of str to ndarray of shape (n_spectra,)
            ``density``: -ln of the mixture's density. ``neighbors``: distance to the `N_NEIGHBORS`-th other
            point of the reference. ``forest``: isolation in the forest, from 0 to 1.
        """
        n, x = len(latents), latents.astype(np.float64)
        if self.mixture is None or not n:
            return {name: np.zeros(n, np.float32) for name in ("density", "neighbors", "forest")}
        k = min(N_NEIGHBORS, len(self.reference_points) - 1)
        search = NearestNeighbors(n_neighbors=k + 1).fit(self.reference_points.astype(np.float64))
        distance = np.asarray(search.kneighbors(x)[0])
        # A point of the reference is its own nearest neighbor, up to rounding.
        is_reference = distance[:, 0] <= 1e-6 * (1.0 + np.abs(x).max(axis=1))
        scores = {
            "density": -self.mixture.log_prob(x),
            "neighbors": np.where(is_reference, distance[:, k], distance[:, k - 1]),
            "forest": -self.isolation_forest.score_samples(x),
        }
        return {name: values.astype(np.float32) for name, values in scores.items()}


def fit_latent_scorer(latents: Floats32, seed: int) -> LatentAnomalyScorer:
    """Fit a model of the ordinary spectra to a sample.

    Small components of the mixture are removed: a Gaussian fitted to a few outliers would make them ordinary.

    Parameters
    ----------
    latents : ndarray of shape (n_spectra, n_latents)
        Latents of the sample in units of the posterior widths.
    seed : int
        Seed of the reference points, of the mixture and of the forest.

    Returns
    -------
    LatentAnomalyScorer
    """
    n, n_latents = latents.shape
    rng = np.random.default_rng(seed)
    reference = latents[np.sort(rng.choice(n, min(n, N_REFERENCE), replace=False))]
    x = latents.astype(np.float64)
    if n < 2:
        return LatentAnomalyScorer(None, reference, None)
    k = int(np.clip(n // SPECTRA_PER_COMPONENT, 1, MAX_COMPONENTS))
    mixture = fit_mixtures(x, [MixtureInit(k, "full", seed)])[0]
    is_large = mixture.weights * n >= max(2 * n_latents, MIN_COMPONENT_WEIGHT * n)
    if is_large.any():
        mixture = replace(
            mixture,
            weights=mixture.weights[is_large] / mixture.weights[is_large].sum(),
            means=mixture.means[is_large],
            covariances=mixture.covariances[is_large],
        )
    forest = IsolationForest(n_estimators=N_TREES, max_samples=min(MAX_SAMPLES, n), random_state=seed)
    return LatentAnomalyScorer(mixture, reference, forest.fit(x))
