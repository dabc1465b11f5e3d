"""How much broader a line is than the instrument makes it; pure, over whole batches."""

from __future__ import annotations

from math import erfc, exp, pi, sqrt

import numpy as np
from numpy.typing import NDArray

from distspec.core.compiled import njit_nogil
from distspec.core.instruments import Disperser, place_of, repeats_of
from distspec.core.spectrum import Floats, Floats32
from distspec.measurements.indices import Spectra

REACH = 0.05
"""The line is fitted with the continuum so far to both sides, as a share of its wavelength."""
COARSEST = 2000.0
"""Where the instrument itself is this broad [km/s, FWHM], the broad lines of active nuclei do not show."""
SURE = 10.0
"""A line is measured from so many σ on."""
KNOWN = 0.1
"""How well the instrument's width is known: before launch, for evenly filled shutters."""
ROUNDS, FARTHEST = 12, 1.0
"""Steps to the best fit, and how far from its place a line is sought, in instrument's FWHM."""
MIN_COVER, NARROWEST, SINGULAR = 0.9, -0.7, 1e-9
LIGHT = 299792.458
"""Of light [km/s]."""
_FWHM = 2.0 * sqrt(2.0 * np.log(2.0))


def breadth(spectra: Spectra, wave: float, detector: Disperser) -> tuple[Floats, Floats]:
    """Return a line's FWHM beyond the instrument's [km/s] and its error, (N,) each.

    A Gaussian over a straight line, fitted with its place and its variance free. What it has beyond the
    instrument's variance may be negative, which is given as 0: point sources fill less of a shutter and are
    seen sharper than the instrument's width is given for, so that theirs are lower limits. The error holds
    `KNOWN`, and how much worse than `ivar` says the fit is. NaN where the line is not covered or weak, or the
    instrument coarse.

    Parameters
    ----------
    spectra : Spectra
    wave : float
        Of the line [Å, rest].
    detector : Disperser
    """
    centres, edges = spectra.grid.wave_rest, spectra.grid.edges
    near = np.flatnonzero(np.abs(centres / wave - 1.0) < REACH)
    found = np.full((len(spectra.z), 2), np.nan)
    if len(near):
        z = np.asarray(spectra.z, np.float64)
        table = detector.log_wave, detector.place, float(detector.pixels)
        _breadth(spectra.flux, spectra.ivar, z, wave, np.log(edges), near, *table, found)
    return found[:, 0], found[:, 1]


@njit_nogil
def _breadth(
    flux: Floats32,
    ivar: Floats32,
    z: Floats,
    wave: float,
    log_edges: Floats,
    near: NDArray[np.int64],
    table: Floats,
    place: Floats,
    pixels: float,
    found: Floats,
) -> None:
    """Fill `found`, (N, 2), from the pixels `near` the line at `wave`."""
    term, n_all = np.zeros(5), len(near)
    for row in range(len(z)):
        stretch = np.log(1e-4 * (1.0 + z[row]))
        at = place_of(np.log(wave) + stretch, table, place)
        # An instrument's FWHM, in km/s, is what one step of its place is worth.
        step = 1e-3
        wide = LIGHT * step / (place_of(np.log(wave) + stretch + step, table, place) - at)
        if not wide < COARSEST:
            continue
        shift, beyond = 0.0, 0.0
        height, height_var, beyond_var, worse, good = 0.0, np.inf, np.inf, 1.0, True
        for _ in range(ROUNDS):
            normal, right, total, n = np.zeros((5, 5)), np.zeros(5), 0.0, 0.0
            s = sqrt((1.0 + beyond) / _FWHM**2 + 1.0 / (6.0 * pixels**2))
            for k in range(n_all):
                i = near[k]
                a = place_of(log_edges[i] + stretch, table, place) - at - shift
                b = place_of(log_edges[i + 1] + stretch, table, place) - at - shift
                if not (ivar[row, i] > 0.0 and b > a):
                    continue
                p, q = _normal(a / s), _normal(b / s)
                middle = 0.5 * (a + b)
                term[0], term[1] = 1.0, middle + shift
                term[2] = 0.5 * (erfc(-b / s / sqrt(2.0)) - erfc(-a / s / sqrt(2.0))) / (b - a)
                term[3] = (p - q) / s / (b - a)
                term[4] = 0.5 * (a * p - b * q) / (s**3 * _FWHM**2) / (b - a)
                w = ivar[row, i] / repeats_of(pixels * (b - a))
                for m in range(5):
                    right[m] += w * term[m] * flux[row, i]
                    for o in range(5):
                        normal[m, o] += w * term[m] * term[o]
                total += w * flux[row, i] ** 2
                n += 1.0
            good = n >= MIN_COVER * n_all
            if not good:
                break
            unit = 1.0 / np.sqrt(np.diag(normal))
            normal *= np.outer(unit, unit)
            good = np.linalg.det(normal) > SINGULAR
            if not good:
                break
            covariance = np.linalg.inv(normal) * np.outer(unit, unit)
            fit = covariance @ right
            height, height_var = fit[2], covariance[2, 2]
            worse = max(1.0, (total - fit @ right) / max(n - 5.0, 1.0))
            if not height > 0.0:
                good = False
                break
            beyond_var = covariance[4, 4] / height**2
            shift = min(max(shift + min(max(fit[3] / height, -0.5), 0.5), -FARTHEST), FARTHEST)
            limit = 0.5 * (1.0 + beyond)
            beyond = max(beyond + min(max(fit[4] / height, -limit), limit), NARROWEST)
        if good and height**2 > SURE**2 * height_var * worse:
            sigma = sqrt(beyond_var * worse + (2.0 * KNOWN) ** 2)
            width = sqrt(max(beyond, 0.0))
            found[row, 0] = wide * width
            found[row, 1] = wide * (sqrt(width**2 + sigma) - width)


@njit_nogil
def _normal(x: float) -> float:
    return exp(-0.5 * x**2) / sqrt(2.0 * pi)
