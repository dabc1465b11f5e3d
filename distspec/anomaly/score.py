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

from distspec.clustering.gaussian_mixture import Mixture, Start, fit_mixtures
from distspec.core.spectrum import Floats, Floats32

N_NEIGHBOURS = 10
N_REFERENCE = 10_000
"""Points of the sample among which neighbours are looked for."""
N_TREES, TREE_SAMPLE = 200, 512
ROWS_PER_GAUSSIAN = 100
MAX_GAUSSIANS = 10
MIN_SHARE = 0.02
"""A group of less than this share of the sample does not count as ordinary."""
SURE_NORM = 3.0
CLIP, CLIP_ROUNDS = 3.0, 5
ROWS_PER_STEP, MAX_STEPS = 200, 30
"""Of the S/N at which spectra are compared."""
SMALL_CLASS = 50
"""A class of so many spectra moves half-way from the sample's usual misfit to its own."""
LATENT_WEIGHT = 0.3
"""Of the mean of the parts in latent space, beside the larger of the two that tell what was left over."""
SPOILT, MOST_SPOILT = 0.5, 1.5
"""How much odder spectra must be that artefacts spoil [dex]."""
PARTS: Mapping[str, str] = {
    "anomaly_recon": "reconstruction worse than of spectra of its S/N and class",
    "anomaly_line": "a feature as wide as a line that the reconstruction lacks",
    "anomaly_density": "latents where the sample is thin",
    "anomaly_neighbours": "far from its nearest neighbours in latent space",
    "anomaly_forest": "latents that few cuts set apart",
}
"""The parts of the score and what each says in words."""
MISFITS = ("anomaly_recon", "anomaly_line")
LATENTS = ("anomaly_density", "anomaly_neighbours", "anomaly_forest")


@dataclass(frozen=True)
class Scorer:
    """What is ordinary in latent space: plain arrays and trees, so that it travels.

    Attributes
    ----------
    mixture : Mixture or None
        Of the sample's own large groups.
    reference : (R, D)
        Points of the sample.
    forest : sklearn IsolationForest, or None
    """

    mixture: Mixture | None
    reference: Floats32
    forest: Any

    def parts(self, latents: Floats32) -> dict[str, Floats32]:
        """Return how odd points are, the higher the odder, in each part's own unit, (N,) each.

        Returns
        -------
        dict
            ``density``, −ln of the density; ``neighbours``, the distance to the `N_NEIGHBOURS`-th other point
            of the reference; ``forest``, how few cuts set a point apart.
        """
        n, x = len(latents), latents.astype(np.float64)
        if self.mixture is None or not n:
            return {name: np.zeros(n, np.float32) for name in ("density", "neighbours", "forest")}
        k = min(N_NEIGHBOURS, len(self.reference) - 1)
        near = NearestNeighbors(n_neighbors=k + 1).fit(self.reference.astype(np.float64))
        distance = np.asarray(near.kneighbors(x)[0])
        # One of the reference is its own nearest, up to rounding.
        own = distance[:, 0] <= 1e-6 * (1.0 + np.abs(x).max(axis=1))
        found = {
            "density": -self.mixture.log_prob(x),
            "neighbours": np.where(own, distance[:, k], distance[:, k - 1]),
            "forest": -self.forest.score_samples(x),
        }
        return {name: values.astype(np.float32) for name, values in found.items()}


def fit(latents: Floats32, seed: int) -> Scorer:
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
        return Scorer(None, reference, None)
    k = int(np.clip(n // ROWS_PER_GAUSSIAN, 1, MAX_GAUSSIANS))
    mixture = fit_mixtures(x, [Start(k, "full", seed)])[0]
    large = mixture.weights * n >= max(2 * n_latents, MIN_SHARE * n)
    if large.any():
        mixture = replace(
            mixture,
            weights=mixture.weights[large] / mixture.weights[large].sum(),
            means=mixture.means[large],
            covariances=mixture.covariances[large],
        )
    forest = IsolationForest(n_estimators=N_TREES, max_samples=min(TREE_SAMPLE, n), random_state=seed)
    return Scorer(mixture, reference, forest.fit(x))


@dataclass(frozen=True)
class Usual:
    """What is usual among spectra: by it they are scored, and others as if they were among them.

    Attributes
    ----------
    chi2 : Polynomial
        ln χ² by arcsinh S/N.
    classes : (K,)
        What is left of that in each class.
    steps : mapping
        Of `LATENTS`: centres in arcsinh S/N, medians there, and scatters above them, (3, steps) each.
    sorted : mapping
        Of `PARTS`: how odd all are, in the part's own unit, (N,) each.
    """

    chi2: Polynomial
    classes: Floats
    steps: Mapping[str, Floats]
    sorted: Mapping[str, Floats]

    @classmethod
    def of(cls, raw: Mapping[str, Floats32], snr: Floats32, label: NDArray[np.int32]) -> Usual:
        """Return what is usual among spectra, of which is known what `score` takes."""
        chi2 = _usual_chi2(raw["recon"], snr)
        classes = _usual_of_classes(_log_chi2(raw["recon"]) - chi2(_x(snr)), label)
        latents = zip(LATENTS, _latents(raw), strict=True)
        steps = {name: _at_snr(values, snr) for name, values in latents}
        nothing: dict[str, Floats] = {}
        odd = cls(chi2, classes, steps, nothing)._oddness(raw, snr, label)
        return cls(chi2, classes, steps, {name: np.sort(values) for name, values in odd.items()})

    def score(
        self,
        raw: Mapping[str, Floats32],
        snr: Floats32,
        label: NDArray[np.int32],
        artefact_score: Floats32,
    ) -> dict[str, Floats]:
        """Score spectra against those that are usual.

        Each part is −log10 of the share of those at least as odd, so parts are comparable whatever their
        units: misfit against what is usual at the same S/N and in the same class, latents against those of
        the same S/N. Spectra that artefacts spoil must be odder than others to rank with them: by `SPOILT`
        for each doubling of `artefact_score` beyond 1, at most by `MOST_SPOILT`. None is left out.

        Parameters
        ----------
        raw : mapping
            ``recon`` and ``line`` of `distspec.anomaly.residuals.misfit`; `Scorer.parts`; (N,) each.
        snr : (N,)
        label : (N,)
            Classes; -1 noise.
        artefact_score : (N,)
            1 or more: spoilt.

        Returns
        -------
        dict
            The `PARTS`, ``log_prob`` (ln density of the latents), ``anomaly_score`` (higher = odder), each
            (N,).
        """
        odd = self._oddness(raw, snr, label)
        parts = {name: _tail(values, self.sorted[name]) for name, values in odd.items()}
        left_over = np.max([parts[name] for name in MISFITS], axis=0)
        score = left_over + LATENT_WEIGHT * np.mean([parts[name] for name in LATENTS], axis=0)
        doublings = np.log2(np.maximum(artefact_score.astype(np.float64), 1.0))
        score = score - np.minimum(SPOILT * doublings, MOST_SPOILT)
        return {**parts, "log_prob": -raw["density"].astype(np.float64), "anomaly_score": score}

    def _oddness(
        self, raw: Mapping[str, Floats32], snr: Floats32, label: NDArray[np.int32]
    ) -> dict[str, Floats]:
        excess = _log_chi2(raw["recon"]) - self.chi2(_x(snr))
        # Of noise, the last, nothing is taken off.
        against = excess - np.append(self.classes, 0.0)[np.where(label < len(self.classes), label, -1)]
        latents = zip(LATENTS, _latents(raw), strict=True)
        return {
            "anomaly_recon": against,
            "anomaly_line": raw["line"].astype(np.float64),
            **{name: _above_usual(values, snr, self.steps[name]) for name, values in latents},
        }


def combine(
    raw: Mapping[str, Floats32], snr: Floats32, label: NDArray[np.int32], artefact_score: Floats32
) -> dict[str, Floats]:
    """Score every spectrum against all others: `Usual.score`, and ``anomaly_rank`` (1 = oddest)."""
    found = Usual.of(raw, snr, label).score(raw, snr, label, artefact_score)
    return found | {"anomaly_rank": rankdata(-found["anomaly_score"], method="ordinal").astype(np.float64)}


def _tail(odd: Floats, usual: Floats) -> Floats:
    """−log10 of the share of those that are usual, sorted, at least as odd, equals counting half.

    0 for the most ordinary, log10 N for the oddest of them.
    """
    n = len(usual)
    below, up_to = (np.searchsorted(usual, odd, side) for side in ("left", "right"))
    return -np.log10((n - up_to + (up_to - below + 1) / 2) / n)


def _x(snr: Floats32) -> Floats:
    return np.arcsinh(snr).astype(np.float64)


def _log_chi2(chi2: Floats32) -> Floats:
    return np.log(np.maximum(chi2, 1e-12)).astype(np.float64)


def _latents(raw: Mapping[str, Floats32]) -> tuple[Floats32, ...]:
    """Return what lies behind `LATENTS`."""
    return raw["density"], np.log(np.maximum(raw["neighbours"], 1e-12)), raw["forest"]


def _usual_chi2(chi2: Floats32, snr: Floats32) -> Polynomial:
    """Return the usual ln χ² at each S/N: a parabola in arcsinh S/N, fitted without outliers.

    χ² of an imperfect model grows with S/N: without this, the brightest would be the oddest.
    """
    x, y = _x(snr), _log_chi2(chi2)
    degree = min(2, len(np.unique(x)) - 1)
    kept = np.ones(len(x), dtype=np.bool_)
    usual = Polynomial([0.0])
    for _ in range(CLIP_ROUNDS):
        usual = Polynomial.fit(x[kept], y[kept], degree)
        excess = y - usual(x)
        scatter = 1.4826 * np.median(np.abs(excess))
        kept = np.abs(excess) <= CLIP * scatter
        if np.count_nonzero(kept) <= degree:
            break
    return usual


def _usual_of_classes(excess: Floats, label: NDArray[np.int32]) -> Floats:
    """Return each class's median excess; of small classes, of which that says little, less of it."""
    usual = np.zeros(int(label.max(initial=-1)) + 1)
    for each in np.unique(label[label >= 0]):
        members = label == each
        n = np.count_nonzero(members)
        usual[each] = np.median(excess[members]) * n / (n + SMALL_CLASS)
    return usual


def _at_snr(values: Floats32, snr: Floats32) -> Floats:
    """Return steps in S/N: centres, medians there, and scatters above them, (3, steps)."""
    x, y = _x(snr), values.astype(np.float64)
    n_steps = int(np.clip(len(y) // ROWS_PER_STEP, 1, MAX_STEPS))
    steps = np.array_split(np.argsort(x, kind="stable"), n_steps)
    p50, p84 = np.array([np.percentile(y[step], [50.0, 84.0]) for step in steps]).T
    return np.array([[np.median(x[step]) for step in steps], p50, np.maximum(p84 - p50, 1e-9)])


def _above_usual(values: Floats32, snr: Floats32, steps: Floats) -> Floats:
    """Return values less the median at the same S/N, over the scatter above it.

    Spectra that say little are encoded near the middle of the latent space, bright ones at its ends.
    """
    x, (centre, p50, scatter) = _x(snr), steps
    return (values.astype(np.float64) - np.interp(x, centre, p50)) / np.interp(x, centre, scatter)


def explain(
    parts: Mapping[str, float],
    norm_snr: float,
    residual: Floats32,
    valid: NDArray[np.bool_],
    wave_rest: Floats,
) -> str:
    """Say in words why a spectrum is odd.

    Parameters
    ----------
    parts : the spectrum's `PARTS`
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
    high = [name for name in PARTS if parts[name] >= 1.5] or [max(PARTS, key=lambda p: parts[p])]
    words = [f"{PARTS[name]} (top {100 * 10 ** -parts[name]:.2g} %)" for name in high]
    if norm_snr < SURE_NORM:
        words.insert(0, f"scale uncertain (norm at {norm_snr:.1f} σ)")
    if valid.any():
        i = int(np.argmax(np.where(valid, np.abs(residual), 0)))
        words.append(f"largest residual {residual[i]:+.1f} σ at {wave_rest[i]:.0f} Å")
    return "; ".join(words)
