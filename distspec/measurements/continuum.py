"""Slopes of continua over all that is free of lines, however faint: pure functions over whole batches."""

from __future__ import annotations

from collections.abc import Sequence
from math import erfc, exp, log, sqrt

import numpy as np

from distspec.core.compiled import njit_nogil
from distspec.core.instruments import Disperser
from distspec.core.spectrum import Floats
from distspec.measurements.indices import F_NU, MIN_COVERAGE, Spectra, Window, compute_window_means

MAX_ABS_BETA, BETA_STEP = 6.0, 0.05
"""β is sought between −6 and 6, in such steps: wider than stars, dust and black bodies of 3000 K reach."""
RELATIVE_ERROR_FLOOR = 0.05
"""No continuum is a power law to better than this share of a window's mean."""
MIN_WINDOWS, MIN_SPAN_FRACTION = 3, 0.5
"""A slope is covered by so many windows, which span this share of what all of them span in ln λ."""


def fit_power_law(spectra: Spectra, windows: Sequence[Window], disperser: Disperser) -> tuple[Floats, Floats]:
    """Return β of f_λ ∝ λ^β and its error, (N,) each: mean and standard deviation of its posterior.

    Gaussian noise on the windows' mean fluxes, which may be negative; any β between the steepest and, of
    each, any positive signal over noise are as likely before. So a spectrum that says nothing has
    β = 0 ± 3.5. Windows that are not covered take no part: where too few are, NaN.
    """
    means = compute_window_means(spectra, windows, F_NU, disperser)
    low, high = np.log(np.array(windows).T)
    middle = 0.5 * (low + high)
    found = np.full((len(spectra.z), 2), np.nan)
    _fit_power_law(
        means.value, means.variance, means.mean_wave, means.coverage, np.ptp(middle), middle.mean(), found
    )
    return found[:, 0], found[:, 1]


def measure_slope_difference(
    spectra: Spectra, red_windows: Sequence[Window], blue_windows: Sequence[Window], disperser: Disperser
) -> tuple[Floats, Floats]:
    """Return how much redder (of larger β) a continuum is in some windows than in others, (N,) each."""
    above, below = (fit_power_law(spectra, windows, disperser) for windows in (red_windows, blue_windows))
    return above[0] - below[0], np.hypot(above[1], below[1])


def measure_min_window_snr(
    spectra: Spectra, windows: Sequence[Window], disperser: Disperser
) -> tuple[Floats, Floats]:
    """Return the least mean flux of any covered window in units of its σ, and that unit, (N,) each."""
    means = compute_window_means(spectra, windows, F_NU, disperser)
    usable = means.coverage >= MIN_COVERAGE
    least = np.where(usable, means.value / np.sqrt(means.variance), np.inf).min(axis=1)
    covered = usable.any(axis=1)
    return np.where(covered, least, np.nan), np.where(covered, 1.0, np.nan)


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
    """Fill `result`, (N, 2), from the means of K windows, (N, K); `span` and `pivot` in ln λ."""
    n_steps = round(2.0 * MAX_ABS_BETA / BETA_STEP) + 1
    evidence = np.zeros(n_steps)
    n_windows = value.shape[1]
    mean, weight = np.zeros(n_windows), np.zeros(n_windows)
    shape, ratio = np.zeros(n_windows), np.zeros(n_windows)
    for row in range(len(value)):
        n, first, last = 0, np.inf, -np.inf
        for k in range(n_windows):
            if coverage[row, k] >= MIN_COVERAGE and variance[row, k] > 0.0:
                at = log(mean_wave[row, k])
                first, last = min(first, at), max(last, at)
                mean[n] = value[row, k]
                weight[n] = 1.0 / (variance[row, k] + (RELATIVE_ERROR_FLOOR * value[row, k]) ** 2)
                # Means are of f_λ λ²: what is fitted is β + 2.
                shape[n] = exp((2.0 - MAX_ABS_BETA) * (at - pivot))
                ratio[n] = exp(BETA_STEP * (at - pivot))
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
    """Return ln ∫ exp(x a − a² / 2) da over a > 0: the evidence of a signal whose fit is x σ."""
    if x < -30.0:
        return -log(-x)
    return 0.5 * x**2 + log(0.5 * erfc(-x / sqrt(2.0))) + 0.9189385332046727
