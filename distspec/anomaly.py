"""How odd each spectrum is: badly reconstructed for its noise, or alone in latent space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import NDArray
from scipy.spatial import KDTree
from scipy.stats import rankdata
from sklearn.mixture import GaussianMixture

from distspec.spectrum import Floats, Floats32

N_NEIGHBOURS = 10
ROWS_PER_GAUSSIAN = 100
MAX_GAUSSIANS = 10
MIN_SHARE = 0.02
"""A group of less than this share of the sample does not count as ordinary."""
SURE_NORM = 3.0
CLIP, CLIP_ROUNDS = 3.0, 5

PARTS: Mapping[str, str] = {
    "anomaly_recon": "reconstruction worse than of spectra of its S/N",
    "anomaly_density": "latents where the sample is thin",
    "anomaly_neighbours": "far from its nearest neighbours in latent space",
}
"""The parts of the score and what each says in words."""


def anomaly_scores(
    latents: Floats32, recon_chi2_red: Floats32, snr: Floats32, seed: int
) -> dict[str, Floats]:
    """Score every spectrum against the sample it is in.

    Each part is −log10 of the share of the sample at least as odd, so parts are comparable whatever their
    units; the score is their mean.

    Parameters
    ----------
    latents : (N, D)
    recon_chi2_red : (N,)
    snr : (N,)
    seed : int

    Returns
    -------
    dict
        The `PARTS`, ``log_prob`` (log density of the latents under a Gaussian mixture), ``anomaly_score``
        (higher = odder), each (N,), and ``anomaly_rank`` (1 = oddest).
    """
    log_prob = _log_density(latents, seed)
    parts = {
        "anomaly_recon": _tail(_excess(recon_chi2_red, snr)),
        "anomaly_density": _tail(-log_prob),
        "anomaly_neighbours": _tail(_neighbour_distance(latents)),
    }
    score = np.mean(list(parts.values()), axis=0)
    return {
        **parts,
        "log_prob": log_prob,
        "anomaly_score": score,
        "anomaly_rank": rankdata(-score, method="ordinal").astype(np.float64),
    }


def _tail(oddness: Floats) -> Floats:
    """−log10 of the share of the sample at least as odd: 0 for the most ordinary, log10 N for the oddest."""
    return -np.log10(rankdata(-oddness, method="average") / len(oddness))


def _excess(chi2: Floats32, snr: Floats32) -> Floats:
    """Return ln χ² less what is usual at the same S/N: a parabola in arcsinh S/N, fitted without outliers.

    χ² of an imperfect model grows with S/N: without this, the brightest would be the oddest.
    """
    x, y = np.arcsinh(snr).astype(np.float64), np.log(np.maximum(chi2, 1e-12)).astype(np.float64)
    degree = min(2, len(np.unique(x)) - 1)
    kept = np.ones(len(x), dtype=np.bool_)
    excess = y
    for _ in range(CLIP_ROUNDS):
        excess = y - Polynomial.fit(x[kept], y[kept], degree)(x)
        scatter = 1.4826 * np.median(np.abs(excess))
        kept = np.abs(excess) <= CLIP * scatter
        if np.count_nonzero(kept) <= degree:
            break
    return excess


def _log_density(latents: Floats32, seed: int) -> Floats:
    """Return the log density of each row under a mixture of the sample's own large groups.

    A Gaussian that fits a few outliers would call them ordinary: those of few members are left out.
    """
    n, n_latents = latents.shape
    if n < 2:
        return np.zeros(n)
    k = int(np.clip(n // ROWS_PER_GAUSSIAN, 1, MAX_GAUSSIANS))
    x = latents.astype(np.float64)
    mixture: Any = GaussianMixture(k, random_state=seed, reg_covar=1e-4).fit(x)
    large = mixture.weights_ * n >= max(2 * n_latents, MIN_SHARE * n)
    if large.any():
        mixture.weights_ = mixture.weights_[large] / mixture.weights_[large].sum()
        mixture.means_ = mixture.means_[large]
        mixture.covariances_ = mixture.covariances_[large]
        mixture.precisions_cholesky_ = mixture.precisions_cholesky_[large]
    return np.asarray(mixture.score_samples(x))


def _neighbour_distance(latents: Floats32) -> Floats:
    """Return the distance to the `N_NEIGHBOURS`-th nearest other spectrum."""
    k = min(N_NEIGHBOURS, len(latents) - 1)
    if k < 1:
        return np.zeros(len(latents))
    distance, _ = KDTree(latents).query(latents, k=k + 1)
    return np.asarray(distance)[:, -1]


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
    >>> parts = {"anomaly_recon": 2.0, "anomaly_density": 0.5, "anomaly_neighbours": 0.1}
    >>> residual, valid = np.array([0, -9.0], np.float32), np.array([True, True])
    >>> explain(parts, 20.0, residual, valid, np.array([4000.0, 5008.0]))
    'reconstruction worse than of spectra of its S/N (top 1 %); largest residual -9.0 σ at 5008 Å'
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
