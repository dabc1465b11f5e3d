"""Redshifts, intervals and second solutions from the evidence on a grid of redshifts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from distspec.core.spectrum import Floats

OVERSAMPLING = 8
"""Points of the posterior per step of the grid on which the evidence was computed."""
SAME_REDSHIFT = 0.01
"""Redshifts that differ by less than this times 1 + z are the same."""
MAX_DROP = 40.0
"""Logarithm of the evidence below its maximum from which a redshift has no probability."""


@dataclass(frozen=True)
class RedshiftPosterior:
    """Posterior of the redshift of one spectrum.

    Attributes
    ----------
    z : ndarray of shape (n_points,)
        Redshifts with a probability, increasing.
    probability : ndarray of shape (n_points,)
        Their probabilities, with sum 1.
    z_best : float
        Redshift of the highest probability density in ln(1 + z).
    z_second : float
        That of the next solution, `SAME_REDSHIFT` or more from the first; NaN if there is none.
    delta_chi2_second : float
        Twice the difference of the log probability densities of both; NaN if there is no second one.
    """

    z: Floats
    probability: Floats
    z_best: float
    z_second: float
    delta_chi2_second: float

    @classmethod
    def from_evidence(cls, z: Floats, log_evidence: Floats) -> RedshiftPosterior:
        """Interpolate log evidence, prior included, and normalize it.

        Parameters
        ----------
        z : ndarray of shape (n_z,)
            Redshifts, equally spaced in ln(1 + z).
        log_evidence : ndarray of shape (n_z,)
            Natural logarithm of evidence times prior density in ln(1 + z); -inf where it was not computed.

        Returns
        -------
        RedshiftPosterior
        """
        is_used = log_evidence > log_evidence.max() - MAX_DROP
        is_used |= np.isfinite(log_evidence) & _dilate(is_used)
        points, values = _oversample(np.log1p(z), log_evidence, is_used)
        best = int(values.argmax())
        probability = np.exp(values - values[best])
        z_fine = np.expm1(points)
        apart = np.abs(z_fine - z_fine[best]) >= SAME_REDSHIFT * (1.0 + z_fine[best])
        is_peak = np.concatenate([[True], values[1:] > values[:-1]])
        is_peak &= np.concatenate([values[:-1] >= values[1:], [True]])
        others = np.flatnonzero(apart & is_peak)
        z_second, delta_chi2 = np.nan, np.nan
        if len(others):
            second = others[values[others].argmax()]
            z_second, delta_chi2 = z_fine[second], 2.0 * (values[best] - values[second])
        return cls(
            z_fine, probability / probability.sum(), float(z_fine[best]), float(z_second), float(delta_chi2)
        )

    def quantile(self, fraction: float) -> float:
        """Return the redshift below which a fraction of the probability lies.

        Parameters
        ----------
        fraction : float
            Between 0 and 1.

        Returns
        -------
        float
        """
        centers = np.cumsum(self.probability) - 0.5 * self.probability
        return float(np.interp(fraction, centers, self.z))

    def outlier_probability(self, z: float) -> float:
        """Return the probability that the redshift is not ``z``, within `SAME_REDSHIFT` times 1 + z.

        Parameters
        ----------
        z : float
            A redshift from elsewhere.

        Returns
        -------
        float
            NaN if ``z`` is not finite.
        """
        if not np.isfinite(z):
            return float("nan")
        is_same = np.abs(self.z - z) < SAME_REDSHIFT * (1.0 + z)
        return float(1.0 - self.probability[is_same].sum())


def _dilate(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask with the neighbors of its elements."""
    wider = mask.copy()
    wider[1:] |= mask[:-1]
    wider[:-1] |= mask[1:]
    return wider


def _oversample(x: Floats, values: Floats, is_used: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Interpolate each contiguous part of a function by a cubic spline; return all points and values."""
    bounds = np.flatnonzero(np.diff(np.concatenate([[False], is_used, [False]]).astype(int)))
    points: list[Floats] = []
    results: list[Floats] = []
    for first, stop in bounds.reshape(-1, 2):
        part = x[first:stop]
        fine = np.linspace(part[0], part[-1], OVERSAMPLING * (len(part) - 1) + 1)
        points.append(fine)
        own = values[first:stop]
        results.append(CubicSpline(part, own)(fine) if len(part) > 3 else np.interp(fine, part, own))
    return np.concatenate(points), np.concatenate(results)
