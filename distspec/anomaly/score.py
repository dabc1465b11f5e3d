"""How odd each spectrum is: what a reconstruction leaves of it, or alone in latent space; and why, in words.

What is ordinary is fitted once, to a sample (`fit`). What is odd about a spectrum is then a matter of that
spectrum (`Scorer.parts`, `distspec.anomaly.residuals`), span by span; only ranks need all of them (`combine`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import NearestNeighbors

from distspec.clustering.gaussian_mixture import GaussianMixture, MixtureInit, fit_mixtures
from distspec.core.spectrum import Floats, Floats32

N_NEIGHBORS = 10
N_REFERENCE = 10_000
"""Points of the sample among which neighbours are looked for."""
N_TREES, MAX_SAMPLES = 200, 512
SPECTRA_PER_COMPONENT = 100
MAX_COMPONENTS = 10
MIN_COMPONENT_WEIGHT = 0.02
"""A group of less than this share of the sample does not count as ordinary."""
MIN_NORM_SNR = 3.0
CLIP_SIGMA, N_CLIP_ITERATIONS = 3.0, 5
SPECTRA_PER_SNR_BIN, MAX_SNR_BINS = 200, 30
"""Of the S/N at which spectra are compared."""
CLASS_SHRINKAGE_SIZE = 50
"""A class of so many spectra moves half-way from the sample's usual misfit to its own."""
LATENT_WEIGHT = 0.3
"""Of the mean of the parts in latent space, beside the larger of the two that tell what was left over."""
BAD_PIXEL_PENALTY, MAX_BAD_PIXEL_PENALTY = 0.5, 1.5
"""How much odder spectra must be that artefacts spoil [dex]."""
PARTIAL_SCORES: Mapping[str, str] = {
    "anomaly_recon": "reconstruction worse than of spectra of its S/N and class",
    "anomaly_line": "a feature as wide as a line that the reconstruction lacks",
    "anomaly_density": "latents where the sample is thin",
    "anomaly_neighbours": "far from its nearest neighbours in latent space",
    "anomaly_forest": "latents that few cuts set apart",
}
"""The parts of the score and what each says in words."""
RESIDUAL_SCORES = ("anomaly_recon", "anomaly_line")
LATENT_SCORES = ("anomaly_density", "anomaly_neighbours", "anomaly_forest")


@dataclass(frozen=True)
class LatentAnomalyScorer:
    """What is ordinary in latent space: plain arrays and trees, so that it travels.

    Attributes
    ----------
    mixture : Mixture or None
        Of the sample's own large groups.
    reference_points : (R, D)
        Points of the sample.
    isolation_forest : sklearn IsolationForest, or None
    """

    mixture: GaussianMixture | None
    reference_points: Floats32
    isolation_forest: Any

    def compute_scores(self, latents: Floats32) -> dict[str, Floats32]:
        """Return how odd points are, the higher the odder, in each part's own unit, (N,) each.

        Returns
        -------
        dict
            ``density``, −ln of the density; ``neighbours``, the distance to the `N_NEIGHBORS`-th other point
            of the reference; ``forest``, how few cuts set a point apart.
        """
        n, x = len(latents), latents.astype(np.float64)
        if self.mixture is None or not n:
            return {name: np.zeros(n, np.float32) for name in ("density", "neighbours", "forest")}
        k = min(N_NEIGHBORS, len(self.reference_points) - 1)
        near = NearestNeighbors(n_neighbors=k + 1).fit(self.reference_points.astype(np.float64))
        distance = np.asarray(near.kneighbors(x)[0])
        # One of the reference is its own nearest, up to rounding.
        own = distance[:, 0] <= 1e-6 * (1.0 + np.abs(x).max(axis=1))
        found = {
            "density": -self.mixture.log_prob(x),
            "neighbours": np.where(own, distance[:, k], distance[:, k - 1]),
            "forest": -self.isolation_forest.score_samples(x),
        }
        return {name: values.astype(np.float32) for name, values in found.items()}


def fit_latent_scorer(latents: Floats32, seed: int) -> LatentAnomalyScorer:
    """Return what is ordinary in a sample.

    A Gaussian that fits a few outliers would call them ordinary: those of few members are left out.

    Parameters
    ----------
    latents : (N, D)
    seed : int
    """
    n, n_latents = latents.shape
    rng = np.random.default_rng(seed)
    reference = latents[np.sort(rng.choice(n, min(n, N_REFERENCE), replace=False))]
    x = latents.astype(np.float64)
    if n < 2:
        return LatentAnomalyScorer(None, reference, None)
    k = int(np.clip(n // SPECTRA_PER_COMPONENT, 1, MAX_COMPONENTS))
    mixture = fit_mixtures(x, [MixtureInit(k, "full", seed)])[0]
    large = mixture.weights * n >= max(2 * n_latents, MIN_COMPONENT_WEIGHT * n)
    if large.any():
        mixture = replace(
            mixture,
            weights=mixture.weights[large] / mixture.weights[large].sum(),
            means=mixture.means[large],
            covariances=mixture.covariances[large],
        )
    forest = IsolationForest(n_estimators=N_TREES, max_samples=min(MAX_SAMPLES, n), random_state=seed)
    return LatentAnomalyScorer(mixture, reference, forest.fit(x))


@dataclass(frozen=True)
class ReferenceDistribution:
    """What is usual among spectra: by it they are scored, and others as if they were among them.

    Attributes
    ----------
    chi2_trend : Polynomial
        ln χ² by arcsinh S/N.
    class_offsets : (K,)
        What is left of that in each class.
    snr_bins : mapping
        Of `LATENTS`: centres in arcsinh S/N, medians there, and scatters above them, (3, steps) each.
    sorted_scores : mapping
        Of `PARTS`: how odd all are, in the part's own unit, (N,) each.
    """

    chi2_trend: Polynomial
    class_offsets: Floats
    snr_bins: Mapping[str, Floats]
    sorted_scores: Mapping[str, Floats]

    @classmethod
    def from_raw_scores(
        cls, raw_scores: Mapping[str, Floats32], snr: Floats32, labels: NDArray[np.int32]
    ) -> ReferenceDistribution:
        """Return what is usual among spectra, of which is known what `score` takes."""
        chi2 = _fit_chi2_trend(raw_scores["recon"], snr)
        classes = _fit_class_offsets(_log_chi2(raw_scores["recon"]) - chi2(_arcsinh_snr(snr)), labels)
        latents = zip(LATENT_SCORES, _transform_latent_scores(raw_scores), strict=True)
        steps = {name: _fit_snr_bins(values, snr) for name, values in latents}
        nothing: dict[str, Floats] = {}
        odd = cls(chi2, classes, steps, nothing)._standardize(raw_scores, snr, labels)
        return cls(chi2, classes, steps, {name: np.sort(values) for name, values in odd.items()})

    def score(
        self,
        raw_scores: Mapping[str, Floats32],
        snr: Floats32,
        labels: NDArray[np.int32],
        bad_pixel_score: Floats32,
    ) -> dict[str, Floats]:
        """Score spectra against those that are usual.

        Each part is −log10 of the share of those at least as odd, so parts are comparable whatever their
        units: misfit against what is usual at the same S/N and in the same class, latents against those of
        the same S/N. Spectra that artefacts spoil must be odder than others to rank with them: by `SPOILT`
        for each doubling of `bad_pixel_score` beyond 1, at most by `MAX_BAD_PIXEL_PENALTY`. None is left out.

        Parameters
        ----------
        raw_scores : mapping
            ``recon`` and ``line`` of `distspec.anomaly.residuals.compute_residual_statistics`; `Scorer.parts`; (N,) each.
        snr : (N,)
        labels : (N,)
            Classes; -1 noise.
        bad_pixel_score : (N,)
            1 or more: spoilt.

        Returns
        -------
        dict
            The `PARTS`, ``log_prob`` (ln density of the latents), ``anomaly_score`` (higher = odder), each
            (N,).
        """
        odd = self._standardize(raw_scores, snr, labels)
        parts = {name: _log_tail_fraction(values, self.sorted_scores[name]) for name, values in odd.items()}
        left_over = np.max([parts[name] for name in RESIDUAL_SCORES], axis=0)
        score = left_over + LATENT_WEIGHT * np.mean([parts[name] for name in LATENT_SCORES], axis=0)
        doublings = np.log2(np.maximum(bad_pixel_score.astype(np.float64), 1.0))
        score = score - np.minimum(BAD_PIXEL_PENALTY * doublings, MAX_BAD_PIXEL_PENALTY)
        return {**parts, "log_prob": -raw_scores["density"].astype(np.float64), "anomaly_score": score}

    def _standardize(
        self, raw_scores: Mapping[str, Floats32], snr: Floats32, labels: NDArray[np.int32]
    ) -> dict[str, Floats]:
        excess = _log_chi2(raw_scores["recon"]) - self.chi2_trend(_arcsinh_snr(snr))
        # Of noise, the last, nothing is taken off.
        against = (
            excess
            - np.append(self.class_offsets, 0.0)[np.where(labels < len(self.class_offsets), labels, -1)]
        )
        latents = zip(LATENT_SCORES, _transform_latent_scores(raw_scores), strict=True)
        return {
            "anomaly_recon": against,
            "anomaly_line": raw_scores["line"].astype(np.float64),
            **{name: _standardize_at_snr(values, snr, self.snr_bins[name]) for name, values in latents},
        }


def compute_anomaly_scores(
    raw_scores: Mapping[str, Floats32], snr: Floats32, labels: NDArray[np.int32], bad_pixel_score: Floats32
) -> dict[str, Floats]:
    """Score every spectrum against all others: `Usual.score`, and ``anomaly_rank`` (1 = oddest)."""
    found = ReferenceDistribution.from_raw_scores(raw_scores, snr, labels).score(
        raw_scores, snr, labels, bad_pixel_score
    )
    return found | {"anomaly_rank": rankdata(-found["anomaly_score"], method="ordinal").astype(np.float64)}


def _log_tail_fraction(scores: Floats, sorted_scores: Floats) -> Floats:
    """−log10 of the share of those that are usual, sorted, at least as odd, equals counting half.

    0 for the most ordinary, log10 N for the oddest of them.
    """
    n = len(sorted_scores)
    below, up_to = (np.searchsorted(sorted_scores, scores, side) for side in ("left", "right"))
    return -np.log10((n - up_to + (up_to - below + 1) / 2) / n)


def _arcsinh_snr(snr: Floats32) -> Floats:
    return np.arcsinh(snr).astype(np.float64)


def _log_chi2(chi2: Floats32) -> Floats:
    return np.log(np.maximum(chi2, 1e-12)).astype(np.float64)


def _transform_latent_scores(raw_scores: Mapping[str, Floats32]) -> tuple[Floats32, ...]:
    """Return what lies behind `LATENTS`."""
    return raw_scores["density"], np.log(np.maximum(raw_scores["neighbours"], 1e-12)), raw_scores["forest"]


def _fit_chi2_trend(chi2: Floats32, snr: Floats32) -> Polynomial:
    """Return the usual ln χ² at each S/N: a parabola in arcsinh S/N, fitted without outliers.

    χ² of an imperfect model grows with S/N: without this, the brightest would be the oddest.
    """
    x, y = _arcsinh_snr(snr), _log_chi2(chi2)
    degree = min(2, len(np.unique(x)) - 1)
    kept = np.ones(len(x), dtype=np.bool_)
    usual = Polynomial([0.0])
    for _ in range(N_CLIP_ITERATIONS):
        usual = Polynomial.fit(x[kept], y[kept], degree)
        excess = y - usual(x)
        scatter = 1.4826 * np.median(np.abs(excess))
        kept = np.abs(excess) <= CLIP_SIGMA * scatter
        if np.count_nonzero(kept) <= degree:
            break
    return usual


def _fit_class_offsets(excess: Floats, labels: NDArray[np.int32]) -> Floats:
    """Return each class's median excess; of small classes, of which that says little, less of it."""
    usual = np.zeros(int(labels.max(initial=-1)) + 1)
    for each in np.unique(labels[labels >= 0]):
        members = labels == each
        n = np.count_nonzero(members)
        usual[each] = np.median(excess[members]) * n / (n + CLASS_SHRINKAGE_SIZE)
    return usual


def _fit_snr_bins(values: Floats32, snr: Floats32) -> Floats:
    """Return steps in S/N: centres, medians there, and scatters above them, (3, steps)."""
    x, y = _arcsinh_snr(snr), values.astype(np.float64)
    n_steps = int(np.clip(len(y) // SPECTRA_PER_SNR_BIN, 1, MAX_SNR_BINS))
    steps = np.array_split(np.argsort(x, kind="stable"), n_steps)
    p50, p84 = np.array([np.percentile(y[step], [50.0, 84.0]) for step in steps]).T
    return np.array([[np.median(x[step]) for step in steps], p50, np.maximum(p84 - p50, 1e-9)])


def _standardize_at_snr(values: Floats32, snr: Floats32, snr_bins: Floats) -> Floats:
    """Return values less the median at the same S/N, over the scatter above it.

    Spectra that say little are encoded near the middle of the latent space, bright ones at its ends.
    """
    x, (centre, p50, scatter) = _arcsinh_snr(snr), snr_bins
    return (values.astype(np.float64) - np.interp(x, centre, p50)) / np.interp(x, centre, scatter)


def explain_anomaly(
    partial_scores: Mapping[str, float],
    norm_snr: float,
    residual: Floats32,
    valid: NDArray[np.bool_],
    wave_rest: Floats,
) -> str:
    """Say in words why a spectrum is odd.

    Parameters
    ----------
    partial_scores : the spectrum's `PARTS`
    norm_snr : float
        A scale that is uncertain moves a spectrum in latent space: it is said first.
    residual : (L,) [σ]
    valid : (L,) bool
    wave_rest : (L,) [Å]

    Examples
    --------
    >>> parts = dict.fromkeys(PARTS, 0.1) | {"anomaly_recon": 2.0}
    >>> residual, valid = np.array([0, -9.0], np.float32), np.array([True, True])
    >>> explain(parts, 20.0, residual, valid, np.array([4000.0, 5008.0]))
    'reconstruction worse than of spectra of its S/N and class (top 1 %); largest residual -9.0 σ at 5008 Å'
    """
    # What stands out by itself, or else the one part that stands out most.
    high = [name for name in PARTIAL_SCORES if partial_scores[name] >= 1.5] or [
        max(PARTIAL_SCORES, key=lambda p: partial_scores[p])
    ]
    words = [f"{PARTIAL_SCORES[name]} (top {100 * 10 ** -partial_scores[name]:.2g} %)" for name in high]
    if norm_snr < MIN_NORM_SNR:
        words.insert(0, f"scale uncertain (norm at {norm_snr:.1f} σ)")
    if valid.any():
        i = int(np.argmax(np.where(valid, np.abs(residual), 0)))
        words.append(f"largest residual {residual[i]:+.1f} σ at {wave_rest[i]:.0f} Å")
    return "; ".join(words)
