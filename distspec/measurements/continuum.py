"""Slopes of continua over all that is free of lines, however faint: pure functions over whole batches."""

from __future__ import annotations

from collections.abc import Sequence
from math import erfc, exp, log, sqrt

import numpy as np

from distspec.core.compiled import njit_nogil
from distspec.core.instruments import Disperser
from distspec.core.spectrum import Floats
from distspec.measurements.indices import F_NU, MIN_COVER, Spectra, Window, window_means

STEEPEST, STEP = 6.0, 0.05
"""β is sought between −6 and 6, in such steps: wider than stars, dust and black bodies of 3000 K reach."""
FLOOR = 0.05
"""No continuum is a power law to better than this share of a window's mean."""
MIN_WINDOWS, MIN_SPAN = 3, 0.5
"""A slope is covered by so many windows, which span this share of what all of them span in ln λ."""


def power_law(spectra: Spectra, windows: Sequence[Window], detector: Disperser) -> tuple[Floats, Floats]:
    """Return β of f_λ ∝ λ^β and its error, (N,) each: mean and standard deviation of its posterior.

    Gaussian noise on the windows' mean fluxes, which may be negative; any β between the steepest and, of
    each, any positive signal over noise are as likely before. So a spectrum that says nothing has
    β = 0 ± 3.5. Windows that are not covered take no part: where too few are, NaN.
    """
    means = window_means(spectra, windows, F_NU, detector)
    low, high = np.log(np.array(windows).T)
    middle = 0.5 * (low + high)
    found = np.full((len(spectra.z), 2), np.nan)
    _power_law(means.value, means.variance, means.centre, means.cover, np.ptp(middle), middle.mean(), found)
    return found[:, 0], found[:, 1]


def difference(
    spectra: Spectra, red: Sequence[Window], blue: Sequence[Window], detector: Disperser
) -> tuple[Floats, Floats]:
    """Return how much redder (of larger β) a continuum is in some windows than in others, (N,) each."""
    above, below = (power_law(spectra, windows, detector) for windows in (red, blue))
    return above[0] - below[0], np.hypot(above[1], below[1])


def lowest(spectra: Spectra, windows: Sequence[Window], detector: Disperser) -> tuple[Floats, Floats]:
    """Return the least mean flux of any covered window in units of its σ, and that unit, (N,) each."""
    means = window_means(spectra, windows, F_NU, detector)
    usable = means.cover >= MIN_COVER
    least = np.where(usable, means.value / np.sqrt(means.variance), np.inf).min(axis=1)
    covered = usable.any(axis=1)
    return np.where(covered, least, np.nan), np.where(covered, 1.0, np.nan)


@njit_nogil
def _power_law(
    value: Floats,
    variance: Floats,
    centre: Floats,
    cover: Floats,
    span: float,
    pivot: float,
    found: Floats,
) -> None:
    """Fill `found`, (N, 2), from the means of K windows, (N, K); `span` and `pivot` in ln λ."""
    n_steps = round(2.0 * STEEPEST / STEP) + 1
    evidence = np.zeros(n_steps)
    n_windows = value.shape[1]
    mean, weight = np.zeros(n_windows), np.zeros(n_windows)
    shape, ratio = np.zeros(n_windows), np.zeros(n_windows)
    for row in range(len(value)):
        n, first, last = 0, np.inf, -np.inf
        for k in range(n_windows):
            if cover[row, k] >= MIN_COVER and variance[row, k] > 0.0:
                at = log(centre[row, k])
                first, last = min(first, at), max(last, at)
                mean[n] = value[row, k]
                weight[n] = 1.0 / (variance[row, k] + (FLOOR * value[row, k]) ** 2)
                # Means are of f_λ λ²: what is fitted is β + 2.
                shape[n] = exp((2.0 - STEEPEST) * (at - pivot))
                ratio[n] = exp(STEP * (at - pivot))
                n += 1
        if n < MIN_WINDOWS or last - first < MIN_SPAN * span:
            continue
        best = -np.inf
        for i in range(n_steps):
            power, match = 0.0, 0.0
            for k in range(n):
                power += weight[k] * shape[k] ** 2
                match += weight[k] * shape[k] * mean[k]
                shape[k] *= ratio[k]
            evidence[i] = _ln_positive(match / sqrt(power))
            best = max(best, evidence[i])
        total, first_moment, second_moment = 0.0, 0.0, 0.0
        for i in range(n_steps):
            share, beta = exp(evidence[i] - best), i * STEP - STEEPEST
            total += share
            first_moment += share * beta
            second_moment += share * beta**2
        found[row, 0] = first_moment / total
        found[row, 1] = sqrt(max(second_moment / total - found[row, 0] ** 2, STEP**2 / 12.0))


@njit_nogil
def _ln_positive(x: float) -> float:
    """Return ln ∫ exp(x a − a² / 2) da over a > 0: the evidence of a signal whose fit is x σ."""
    if x < -30.0:
        return -log(-x)
    return 0.5 * x**2 + log(0.5 * erfc(-x / sqrt(2.0))) + 0.9189385332046727
