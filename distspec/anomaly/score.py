"""Anomaly scores: how poorly a spectrum is reconstructed.

Raw scores of a spectrum depend on that spectrum and on a model of the sample (`distspec.anomaly.residuals`),
so they can be computed in blocks of rows. A `ReferenceDistribution` makes them comparable between
signal-to-noise ratios and classes, and combines them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import NDArray

from distspec.core.spectrum import Floats, Floats32
from distspec.core.text import use_minus_signs

MIN_NORM_SNR = 3.0
"""Signal-to-noise ratio of the normalization below which the explanation mentions it."""
CLIP_SIGMA, N_CLIP_ITERATIONS = 3.0, 5
"""Clipping of outliers in the fit of chi-squared against the signal-to-noise ratio."""
CLASS_SHRINKAGE_SIZE = 50
"""Size of a class whose chi-squared offset is half its own median and half that of the sample."""
BAD_PIXEL_PENALTY, MAX_BAD_PIXEL_PENALTY = 0.5, 1.5
"""Decrease of the score of spectra with bad pixels, for each doubling of `artefact_score`, and its limit
[dex]."""
REDSHIFT_PENALTY = 1.5
"""Decrease of the score of spectra with a doubtful redshift [dex]."""
DOUBTFUL_PROBABILITY = 0.5
"""Probability of a wrong redshift from which on it is doubtful."""
MIN_EXPLAINED_SCORE = 1.5
"""Partial score from which on an explanation names it [dex]."""
PARTIAL_SCORES: Mapping[str, str] = {
    "anomaly_recon": "poor reconstruction for its S/N and class",
    "anomaly_line": "residual as wide as a line",
}
"""Partial scores with the texts of `explain_anomaly`."""


@dataclass(frozen=True)
class ReferenceDistribution:
    """Distribution of raw scores of a run's spectra, relative to which these or other spectra are scored.

    Attributes
    ----------
    chi2_trend : Polynomial
        Usual ln chi-squared as a function of arcsinh of the signal-to-noise ratio.
    class_offsets : ndarray of shape (n_classes,)
        Offset of each class from that trend.
    sorted_scores : mapping of str to ndarray of shape (n_spectra,)
        For each of `PARTIAL_SCORES`: sorted standardized raw scores of the run's spectra.
    """

    chi2_trend: Polynomial
    class_offsets: Floats
    sorted_scores: Mapping[str, Floats]

    @classmethod
    def from_raw_scores(
        cls, raw_scores: Mapping[str, Floats32], snr: Floats32, labels: NDArray[np.int32]
    ) -> ReferenceDistribution:
        """Fit the distribution to a run's spectra.

        Parameters
        ----------
        raw_scores : mapping of str to ndarray of float32, shape (n_spectra,)
            Raw scores by the names that `score` lists.
        snr : ndarray of float32, shape (n_spectra,)
            Median signal-to-noise ratio per pixel.
        labels : ndarray of int32, shape (n_spectra,)
            Class of each spectrum; -1 is noise.

        Returns
        -------
        ReferenceDistribution
        """
        chi2_trend = _fit_chi2_trend(raw_scores["recon"], snr)
        excess = _log_chi2(raw_scores["recon"]) - chi2_trend(_arcsinh_snr(snr))
        offsets = _fit_class_offsets(excess, labels)
        unsorted = cls(chi2_trend, offsets, {})._standardize(raw_scores, snr, labels)
        return cls(chi2_trend, offsets, {name: np.sort(values) for name, values in unsorted.items()})

    def score(
        self,
        raw_scores: Mapping[str, Floats32],
        snr: Floats32,
        labels: NDArray[np.int32],
        bad_pixel_score: Floats32,
    ) -> dict[str, Floats]:
        """Score spectra relative to the distribution.

        A partial score is -log10 of the fraction of the run's spectra that are at least as anomalous, after
        chi-squared is compared at equal signal-to-noise ratio and class. Partial scores are therefore
        comparable, and the larger one counts. Spectra with bad pixels are scored lower: by
        `BAD_PIXEL_PENALTY` for each doubling of `bad_pixel_score` above 1, at most by
        `MAX_BAD_PIXEL_PENALTY`. None is left out.

        Parameters
        ----------
        raw_scores : mapping of str to ndarray of shape (n_spectra,)
            ``recon`` and ``line`` of `distspec.anomaly.residuals.compute_residual_statistics`; ``log_prob``
            of `distspec.anomaly.latent_density.LatentDensity`.
        snr : ndarray of shape (n_spectra,)
            Median signal-to-noise ratio per pixel.
        labels : ndarray of shape (n_spectra,)
            Cluster labels; -1 is noise.
        bad_pixel_score : ndarray of shape (n_spectra,)
            Column ``artefact_score``; a spectrum is flagged at 1 or above.

        Returns
        -------
        dict of str to ndarray of shape (n_spectra,)
            The `PARTIAL_SCORES` [dex], ``log_prob``, and ``anomaly_score`` [dex]; higher scores are more
            anomalous.
        """
        standardized = self._standardize(raw_scores, snr, labels)
        partial = {
            name: _log_tail_fraction(values, self.sorted_scores[name])
            for name, values in standardized.items()
        }
        doublings = np.log2(np.maximum(bad_pixel_score.astype(np.float64), 1.0))
        penalty = np.minimum(BAD_PIXEL_PENALTY * doublings, MAX_BAD_PIXEL_PENALTY)
        score = np.max(list(partial.values()), axis=0) - penalty
        return {**partial, "log_prob": raw_scores["log_prob"].astype(np.float64), "anomaly_score": score}

    def _standardize(
        self, raw_scores: Mapping[str, Floats32], snr: Floats32, labels: NDArray[np.int32]
    ) -> dict[str, Floats]:
        """Return raw scores relative to those of spectra of the same signal-to-noise ratio and class."""
        excess = _log_chi2(raw_scores["recon"]) - self.chi2_trend(_arcsinh_snr(snr))
        # The last offset is that of noise and of unknown classes.
        offsets = np.append(self.class_offsets, 0.0)
        return {
            "anomaly_recon": excess - offsets[np.where(labels < len(self.class_offsets), labels, -1)],
            "anomaly_line": raw_scores["line"].astype(np.float64),
        }


def compute_anomaly_scores(
    raw_scores: Mapping[str, Floats32],
    snr: Floats32,
    labels: NDArray[np.int32],
    bad_pixel_score: Floats32,
    reference: ReferenceDistribution | None = None,
) -> dict[str, Floats]:
    """Score every spectrum of a run relative to all.

    Parameters
    ----------
    raw_scores, snr, labels, bad_pixel_score
        As `ReferenceDistribution.score`.
    reference : ReferenceDistribution, optional
        `ReferenceDistribution.from_raw_scores` of the same spectra, if it is known.

    Returns
    -------
    dict of str to ndarray of shape (n_spectra,)
        Result of `ReferenceDistribution.score`, and ``anomaly_rank``; 1 is the most anomalous. Scores are
        equal where residuals reach their limit; of these, the larger sum of partial scores comes first.
    """
    reference = reference or ReferenceDistribution.from_raw_scores(raw_scores, snr, labels)
    scores = reference.score(raw_scores, snr, labels, bad_pixel_score)
    return scores | {"anomaly_rank": _rank(scores["anomaly_score"], scores)}


def lower_doubtful_redshifts(scores: Mapping[str, Floats], p_outlier: Floats) -> dict[str, Floats]:
    """Lower the scores of spectra with a doubtful redshift: their reconstruction is poor for this reason.

    Parameters
    ----------
    scores : mapping of str to ndarray of shape (n_spectra,)
        Result of `compute_anomaly_scores`.
    p_outlier : ndarray of shape (n_spectra,)
        Probability that the archive's redshift is wrong; NaN where it is unknown.

    Returns
    -------
    dict of str to ndarray of shape (n_spectra,)
        ``anomaly_score``, lower by `REDSHIFT_PENALTY` from `DOUBTFUL_PROBABILITY` on, ``anomaly_rank``, and
        ``anomaly_redshift`` [dex], NaN where the probability is unknown.
    """
    known = np.isfinite(p_outlier)
    redshift = np.full(len(p_outlier), np.nan)
    if known.any():
        redshift[known] = _log_tail_fraction(p_outlier[known], np.sort(p_outlier[known]))
    score = scores["anomaly_score"] - REDSHIFT_PENALTY * (p_outlier >= DOUBTFUL_PROBABILITY)
    return {"anomaly_score": score, "anomaly_rank": _rank(score, scores), "anomaly_redshift": redshift}


def _rank(score: Floats, partial_scores: Mapping[str, Floats]) -> Floats:
    """Return ranks from 1 for the highest score; of equal ones, the larger sum of partial scores is first."""
    order = np.lexsort([-np.sum([partial_scores[name] for name in PARTIAL_SCORES], axis=0), -score])
    rank = np.empty(len(order))
    rank[order] = np.arange(1, len(order) + 1)
    return rank


def explain_anomaly(
    partial_scores: Mapping[str, float],
    norm_snr: float,
    residual: Floats32,
    valid: NDArray[np.bool_],
    wave_rest: Floats,
) -> str:
    """Explain a spectrum's anomaly score: the high partial scores, and the largest residual.

    Parameters
    ----------
    partial_scores : mapping of str to float
        The spectrum's `PARTIAL_SCORES` [dex].
    norm_snr : float
        Signal-to-noise ratio of the normalization. It comes first if it is low.
    residual : ndarray of shape (n_pixels,)
        Residuals [sigma].
    valid : ndarray of bool, shape (n_pixels,)
        Pixels that are not masked.
    wave_rest : ndarray of shape (n_pixels,)
        Rest-frame wavelength [Angstrom].

    Returns
    -------
    str
        Parts separated by semicolons.

    Examples
    --------
    >>> scores = dict.fromkeys(PARTIAL_SCORES, 0.1) | {"anomaly_recon": 2.0}
    >>> residual, valid = np.array([0, -9.0], np.float32), np.array([True, True])
    >>> explain_anomaly(scores, 20.0, residual, valid, np.array([4000.0, 5008.0]))
    'poor reconstruction for its S/N and class (top 1 %); largest residual −9.0 σ at 5008 Å'
    """
    high = [name for name in PARTIAL_SCORES if partial_scores[name] >= MIN_EXPLAINED_SCORE]
    high = high or [max(PARTIAL_SCORES, key=lambda name: partial_scores[name])]
    parts = [f"{PARTIAL_SCORES[name]} (top {100 * 10 ** -partial_scores[name]:.2g} %)" for name in high]
    if norm_snr < MIN_NORM_SNR:
        parts.insert(0, f"uncertain normalization (S/N {norm_snr:.1f})")
    if valid.any():
        i = int(np.argmax(np.where(valid, np.abs(residual), 0)))
        parts.append(use_minus_signs(f"largest residual {residual[i]:+.1f} σ at {wave_rest[i]:.0f} Å"))
    return "; ".join(parts)


def explain_redshift(
    z: float, z_model: float | None, p_outlier: float | None, z_class: str | None = "galaxy"
) -> str:
    """Return a sentence about a doubtful redshift; "" if it is not doubtful or was not measured.

    Parameters
    ----------
    z : float
        Redshift of the archive.
    z_model, p_outlier : float or None
        Measured redshift, and the probability that that of the archive is wrong.
    z_class : str or None
        What the spectrum resembles: the redshift of anything but a galaxy is not called doubtful.

    Examples
    --------
    >>> explain_redshift(3.21, 5.432, 0.99)
    'doubtful redshift: z = 5.432 fits better than 3.210'
    >>> explain_redshift(3.21, 3.212, 0.02)
    ''
    """
    if z_model is None or p_outlier is None or p_outlier < DOUBTFUL_PROBABILITY or z_class != "galaxy":
        return ""
    return f"doubtful redshift: z = {z_model:.3f} fits better than {z:.3f}"


def _log_tail_fraction(scores: Floats, sorted_scores: Floats) -> Floats:
    """Return -log10 of the fraction of sorted scores that are at least as high; equal ones count half.

    It is 0 for the lowest score, and log10 of the number of scores for the highest.
    """
    n = len(sorted_scores)
    below, up_to = (np.searchsorted(sorted_scores, scores, side) for side in ("left", "right"))
    return -np.log10((n - up_to + (up_to - below + 1) / 2) / n)


def _arcsinh_snr(snr: Floats32) -> Floats:
    return np.arcsinh(snr).astype(np.float64)


def _log_chi2(chi2: Floats32) -> Floats:
    return np.log(np.maximum(chi2, 1e-12)).astype(np.float64)


def _fit_chi2_trend(chi2: Floats32, snr: Floats32) -> Polynomial:
    """Return the usual ln chi-squared as a parabola in arcsinh S/N, fitted with clipping.

    The chi-squared of an imperfect model grows with the signal-to-noise ratio.
    """
    x, y = _arcsinh_snr(snr), _log_chi2(chi2)
    degree = min(2, len(np.unique(x)) - 1)
    is_inlier = np.ones(len(x), dtype=np.bool_)
    trend = Polynomial([0.0])
    for _ in range(N_CLIP_ITERATIONS):
        trend = Polynomial.fit(x[is_inlier], y[is_inlier], degree)
        excess = y - trend(x)
        scatter = 1.4826 * np.median(np.abs(excess))
        is_inlier = np.abs(excess) <= CLIP_SIGMA * scatter
        if np.count_nonzero(is_inlier) <= degree:
            break
    return trend


def _fit_class_offsets(excess: Floats, labels: NDArray[np.int32]) -> Floats:
    """Return the median excess of each class, shrunk toward 0 for small classes."""
    offsets = np.zeros(int(labels.max(initial=-1)) + 1)
    for label in np.unique(labels[labels >= 0]):
        members = labels == label
        n = np.count_nonzero(members)
        offsets[label] = np.median(excess[members]) * n / (n + CLASS_SHRINKAGE_SIZE)
    return offsets
