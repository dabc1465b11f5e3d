"""Slopes of faint continua from all line-free windows, with posteriors valid at any signal-to-noise ratio."""

from __future__ import annotations

from collections.abc import Sequence
from math import erfc, exp, log, sqrt

import numpy as np

from distspec.core.compiled import njit_nogil
from distspec.core.instruments import Disperser
from distspec.core.spectrum import Floats
from distspec.measurements.indices import (
    F_NU,
    MIN_COVERAGE,
    GriddedSpectra,
    Window,
    compute_window_means,
)

MAX_ABS_BETA, BETA_STEP = 6.0, 0.05
"""The posterior is evaluated for beta from -6 to 6 in steps of 0.05, beyond the slopes of stars, dust and
black bodies of 3000 K."""
RELATIVE_ERROR_FLOOR = 0.05
"""Fraction of a window's mean that is added in quadrature to its error: continua are not exact power laws."""
MIN_WINDOWS, MIN_SPAN_FRACTION = 3, 0.5
"""A slope needs this many covered windows, which span this fraction of the range of all windows in ln
lambda."""


def fit_power_law(
    spectra: GriddedSpectra, windows: Sequence[Window], disperser: Disperser
) -> tuple[Floats, Floats]:
    """Estimate the index beta of f_lambda ~ lambda**beta as mean and standard deviation of its posterior.

    The likelihood is Gaussian in the windows' mean fluxes, which may be negative. The prior is uniform in
    beta between -`MAX_ABS_BETA` and `MAX_ABS_BETA`, and uniform in the positive amplitude, over which is
    marginalized. A spectrum without signal therefore has beta = 0 +- 3.5. Windows that are not covered are
    left out.

    Parameters
    ----------
    spectra : GriddedSpectra
        The spectra.
    windows : sequence of (float, float)
        Line-free rest-frame windows [Angstrom].
    disperser : Disperser
        The instrument.

    Returns
    -------
    beta, error : ndarray of shape (n_spectra,)
        Posterior mean and standard deviation; NaN where fewer than `MIN_WINDOWS` are covered.
    """
    means = compute_window_means(spectra, windows, F_NU, disperser)
    low, high = np.log(np.array(windows).T)
    center = 0.5 * (low + high)
    result = np.full((len(spectra.z), 2), np.nan)
    _fit_power_law(
        means.value, means.variance, means.mean_wave, means.coverage, np.ptp(center), center.mean(), result
    )
    return result[:, 0], result[:, 1]


def measure_slope_difference(
    spectra: GriddedSpectra,
    red_windows: Sequence[Window],
    blue_windows: Sequence[Window],
    disperser: Disperser,
) -> tuple[Floats, Floats]:
    """Measure how much redder a continuum is in some windows than in others.

    Parameters
    ----------
    spectra : GriddedSpectra
        The spectra.
    red_windows, blue_windows : sequence of (float, float)
        Line-free rest-frame windows [Angstrom].
    disperser : Disperser
        The instrument.

    Returns
    -------
    difference, error : ndarray of shape (n_spectra,)
        Beta of the red windows minus beta of the blue windows, and its 1 sigma error; NaN where not covered.
    """
    red, blue = (fit_power_law(spectra, windows, disperser) for windows in (red_windows, blue_windows))
    return red[0] - blue[0], np.hypot(red[1], blue[1])


def measure_min_window_snr(
    spectra: GriddedSpectra, windows: Sequence[Window], disperser: Disperser
) -> tuple[Floats, Floats]:
    """Measure the lowest signal-to-noise ratio of the mean flux in any covered window.

    Parameters
    ----------
    spectra : GriddedSpectra
        The spectra.
    windows : sequence of (float, float)
        Rest-frame windows [Angstrom].
    disperser : Disperser
        The instrument.

    Returns
    -------
    snr, error : ndarray of shape (n_spectra,)
        The lowest ratio, and its error, which is 1; NaN where no window is covered.
    """
    means = compute_window_means(spectra, windows, F_NU, disperser)
    usable = means.coverage >= MIN_COVERAGE
    lowest = np.where(usable, means.value / np.sqrt(means.variance), np.inf).min(axis=1)
    covered = usable.any(axis=1)
    return np.where(covered, lowest, np.nan), np.where(covered, 1.0, np.nan)


@njit_nogil
def _fit_power_law(
    value: Floats,
    variance: Floats,
    mean_wave: Floats,
    coverage: Floats,
    span: float,
    pivot: float,
    result: Floats,
) -> None:
    """Fill `result`, (n_spectra, 2), from window means, (n_spectra, n_windows).

    `span` and `pivot` are range and mean of the windows' centers in ln lambda.
    """
    n_steps = round(2.0 * MAX_ABS_BETA / BETA_STEP) + 1
    evidence = np.zeros(n_steps)
    n_windows = value.shape[1]
    mean, weight = np.zeros(n_windows), np.zeros(n_windows)
    shape, ratio = np.zeros(n_windows), np.zeros(n_windows)
    for row in range(len(value)):
        n, first, last = 0, np.inf, -np.inf
        for k in range(n_windows):
            if coverage[row, k] >= MIN_COVERAGE and variance[row, k] > 0.0:
                log_wave = log(mean_wave[row, k])
                first, last = min(first, log_wave), max(last, log_wave)
                mean[n] = value[row, k]
                weight[n] = 1.0 / (variance[row, k] + (RELATIVE_ERROR_FLOOR * value[row, k]) ** 2)
                # The means are of f_lambda * lambda**2, whose index is beta + 2.
                shape[n] = exp((2.0 - MAX_ABS_BETA) * (log_wave - pivot))
                ratio[n] = exp(BETA_STEP * (log_wave - pivot))
                n += 1
        if n < MIN_WINDOWS or last - first < MIN_SPAN_FRACTION * span:
            continue
        best = -np.inf
        for i in range(n_steps):
            power, match = 0.0, 0.0
            for k in range(n):
                power += weight[k] * shape[k] ** 2
                match += weight[k] * shape[k] * mean[k]
                shape[k] *= ratio[k]
            evidence[i] = _log_evidence(match / sqrt(power))
            best = max(best, evidence[i])
        total, first_moment, second_moment = 0.0, 0.0, 0.0
        for i in range(n_steps):
            share, beta = exp(evidence[i] - best), i * BETA_STEP - MAX_ABS_BETA
            total += share
            first_moment += share * beta
            second_moment += share * beta**2
        result[row, 0] = first_moment / total
        result[row, 1] = sqrt(max(second_moment / total - result[row, 0] ** 2, BETA_STEP**2 / 12.0))


@njit_nogil
def _log_evidence(x: float) -> float:
    """Return ln of the evidence of an amplitude of x sigma: integral of exp(x a - a**2 / 2) over a > 0."""
    if x < -30.0:
        return -log(-x)
    return 0.5 * x**2 + log(0.5 * erfc(-x / sqrt(2.0))) + 0.9189385332046727
