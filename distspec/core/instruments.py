"""NEEDS A DOCSTRING."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from distspec.core.compiled import njit_nogil
from distspec.core.spectrum import Floats


def laid_out(detector: Disperser | None) -> tuple[Floats, Floats, float]:
    """Return what `positions` takes: tables of ln λ [ln um] and of places [FWHM], pixels in a FWHM."""
    if detector is None:
        return np.zeros(0), np.zeros(0), 1.0
    return detector.log_wave, detector.place, float(detector.pixels)


@njit_nogil
def positions(
    log_edges: Floats, z: float, table: Floats, place: Floats, pixels: float, at: Floats, width: Floats
) -> None:
    """Fill in where the grid's pixels lie on the detector and how wide they are, (L,); NaN beside it."""
    if len(table) == 0:
        for i in range(len(at)):
            at[i], width[i] = i, 1.0
        return
    stretch = np.log(1e-4 * (1.0 + z))
    below = pixels * place_of(log_edges[0] + stretch, table, place)
    for i in range(len(at)):
        above = pixels * place_of(log_edges[i + 1] + stretch, table, place)
        at[i], width[i], below = 0.5 * (below + above), above - below, above


class Disperser:
    """How an instrument spreads light over its detector.

    Parameters
    ----------
    wave : [um, observed]
        Increasing.
    resolution : λ / FWHM at `wave`
    pixels : float
        Of the detector, in a FWHM.
    """

    def __init__(self, wave: Sequence[float], resolution: Sequence[float], pixels: float) -> None:
        self.pixels = pixels
        self.log_wave: Floats = np.linspace(np.log(wave[0]), np.log(wave[-1]), 2048)
        each = np.exp(np.interp(self.log_wave, np.log(wave), np.log(resolution)))
        steps = 0.5 * (each[1:] + each[:-1]) * np.diff(self.log_wave)
        self.place: Floats = np.concatenate([[0.0], np.cumsum(steps)])
        """Where light of `log_wave` [ln um] falls, in FWHM: there lines are equally wide everywhere."""


PRISM_RESOLUTION = (
    (0.54, 83.0), (0.57, 75.0), (0.6, 68.0), (0.65, 59.0), (0.7, 52.0), (0.8, 42.6), (0.9, 37.0),
    (1.0, 33.8), (1.1, 32.2), (1.2, 31.8), (1.3, 32.3), (1.5, 35.3), (1.75, 41.9), (2.0, 51.0),
    (2.5, 75.0), (3.0, 106.0), (3.5, 144.0), (4.0, 189.0), (5.0, 300.0), (5.52, 375.0),
)  # fmt: skip
"""JWST/NIRSpec's prism: (wavelength [um, observed], λ / (2.2 Δλ) of the detector's pixels), before launch."""
PRISM = Disperser([wave for wave, _ in PRISM_RESOLUTION], [r for _, r in PRISM_RESOLUTION], 2.2)


@njit_nogil
def place_of(log_wave: float, table: Floats, place: Floats) -> float:
    """Return where light of ln λ [ln um] falls on the detector, in FWHM; NaN beside it."""
    at = (log_wave - table[0]) / (table[1] - table[0])
    i = int(at)
    if not 0.0 <= at < len(table) - 1:
        return np.nan
    return place[i] + (at - i) * (place[i + 1] - place[i])


@njit_nogil
def repeats_of(pixels: float) -> float:
    """Return how many grid pixels, each so many detector pixels wide, repeat one independent noise.

    Of a grid that cuts the detector's pixels anywhere: 1 where its own are much wider.
    """
    variance = 1.0 - pixels / 3.0 if pixels < 1.0 else (1.0 - 1.0 / (3.0 * pixels)) / pixels
    return 1.0 / (pixels * variance)


SPEX = Disperser(
    (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.4, 1.6, 1.8, 2.1, 2.4, 2.6),
    (303, 321, 288, 264, 260, 266, 290, 327, 397, 487, 645, 863, 900),
    1.0,
)
"""SpeX's prism: λ / Δλ of a pixel, median of the library's files (which differ by a third)."""
SDSS = Disperser((0.3, 1.1), (4343.0, 4343.0), 1.0)
"""Pixels of 1e-4 in log10 λ."""
DESI = Disperser((0.3, 0.5, 0.7, 1.1), (3750.0, 6250.0, 8750.0, 13750.0), 1.0)
"""Pixels of 0.8 Å."""
DETECTORS: Mapping[str, Disperser] = {"dja": PRISM, "jades": PRISM, "sdss": SDSS, "desi": DESI, "spex": SPEX}
"""What spectra were taken with, by kind of archive; of others it is not known."""
