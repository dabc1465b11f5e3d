"""Redshifts, intervals and second solutions from the evidence on a grid of redshifts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

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
MAX_MATRIX_POINTS = 64
"""Longest part of a grid that is interpolated by a matrix that is kept."""
KERNEL_SIGMAS = 4.0
"""Half width of the distribution of systematic errors [standard deviations]."""


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
    p_excluded : float
        Probability that the redshift is none of these, of which nothing else is known.
    """

    z: Floats
    probability: Floats
    z_best: float
    z_second: float
    delta_chi2_second: float
    p_excluded: float = 0.0

    @classmethod
    def from_evidence(
        cls,
        z: Floats,
        log_evidence: Floats,
        is_kept: NDArray[np.bool_] | None = None,
        systematic_error: float = 0.0,
        p_excluded: float = 0.0,
    ) -> RedshiftPosterior:
        """Interpolate log evidence, prior included, and normalize it.

        Parameters
        ----------
        z : ndarray of shape (n_z,)
            Redshifts, equally spaced in ln(1 + z).
        log_evidence : ndarray of shape (n_z,)
            Natural logarithm of evidence times prior density in ln(1 + z); -inf where it was not computed.
        is_kept : ndarray of bool, shape (n_z,), optional
            Redshifts that are kept even if their evidence is more than `MAX_DROP` below the maximum.
        systematic_error : float
            Standard deviation of normal systematic errors of ln(1 + z).
        p_excluded : float
            Probability that the redshift is none of these.

        Returns
        -------
        RedshiftPosterior
        """
        is_used = log_evidence > log_evidence.max() - MAX_DROP
        is_used |= np.isfinite(log_evidence) & _dilate(is_used)
        if is_kept is not None:
            is_used |= np.isfinite(log_evidence) & is_kept
        points, values = _oversample(np.log1p(z), log_evidence, is_used, systematic_error)
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
        probability /= probability.sum()
        return cls(z_fine, probability, float(z_fine[best]), float(z_second), float(delta_chi2), p_excluded)

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

    def probability_near(self, z: float) -> float:
        """Return the probability of redshifts within `SAME_REDSHIFT` times 1 + z of a redshift.

        Of two redshifts that are certainly wrong it tells the more probable one, where
        `outlier_probability` is rounded to 1.

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
        return float(self.probability[is_same].sum())

    def outlier_probability(self, z: float) -> float:
        """Return the probability that the redshift is not ``z``, within `SAME_REDSHIFT` times 1 + z.

        Parameters
        ----------
        z : float
            A redshift from elsewhere.

        Returns
        -------
        float
            At least `p_excluded`; NaN if ``z`` is not finite.
        """
        return 1.0 - (1.0 - self.p_excluded) * self.probability_near(z)


def _dilate(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask with the neighbors of its elements."""
    wider = mask.copy()
    wider[1:] |= mask[:-1]
    wider[:-1] |= mask[1:]
    return wider


def _oversample(
    x: Floats, values: Floats, is_used: NDArray[np.bool_], systematic_error: float
) -> tuple[Floats, Floats]:
    """Interpolate each contiguous part of a function by a cubic spline; return all points and values.

    The exponential of the function is convolved with the distribution of systematic errors.
    """
    kernel = _make_kernel(systematic_error * OVERSAMPLING / (x[1] - x[0]) if len(x) > 1 else 0.0)
    bounds = np.flatnonzero(np.diff(np.concatenate([[False], is_used, [False]]).astype(int)))
    points: list[Floats] = []
    results: list[Floats] = []
    for first, stop in bounds.reshape(-1, 2):
        n = stop - first
        points.append(np.linspace(x[first], x[stop - 1], OVERSAMPLING * (n - 1) + 1))
        fine = _interpolate(values[first:stop])
        if len(kernel) > 1 and n > 1:
            fine = _convolve_exponential(fine, kernel)
        results.append(fine)
    return np.concatenate(points), np.concatenate(results)


def _interpolate(values: Floats) -> Floats:
    """Interpolate equally spaced values by a cubic spline, or linearly if there are three or fewer."""
    n = len(values)
    if n <= MAX_MATRIX_POINTS:
        return _make_interpolation(n) @ values
    return CubicSpline(np.arange(n), values)(np.linspace(0, n - 1, OVERSAMPLING * (n - 1) + 1))


@lru_cache(maxsize=MAX_MATRIX_POINTS)
def _make_interpolation(n: int) -> Floats:
    """Return the matrix that interpolates `n` equally spaced values."""
    x, fine = np.arange(n), np.linspace(0, n - 1, OVERSAMPLING * (n - 1) + 1)
    if n > 3:
        return CubicSpline(x, np.eye(n))(fine)
    return np.array([np.interp(fine, x, row) for row in np.eye(n)]).T


@lru_cache
def _make_kernel(sigma: float) -> Floats:
    """Return a normal distribution of sum 1 on the points of a kernel; sigma is in points."""
    half = int(np.ceil(KERNEL_SIGMAS * sigma))
    kernel = np.exp(-0.5 * (np.arange(-half, half + 1) / max(sigma, 1e-9)) ** 2)
    return kernel / kernel.sum()


def _convolve_exponential(values: Floats, kernel: Floats) -> Floats:
    """Return the logarithm of the convolved exponential; beyond the ends it is that at the ends."""
    high, beyond = values.max(), np.ones(len(kernel) // 2)
    padded = np.exp(np.concatenate([values[0] * beyond, values, values[-1] * beyond]) - high)
    # Values that underflow have neighbors that are greater by many orders of magnitude, or no probability.
    return high + np.log(np.maximum(np.convolve(padded, kernel, "valid"), 1e-300))
