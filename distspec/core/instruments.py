"""How instruments spread light over their detectors, which sets line widths and the correlation of noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from distspec.core.compiled import njit_nogil
from distspec.core.spectrum import Floats


class Disperser:
    """Dispersion of an instrument: position on the detector as a function of wavelength.

    Parameters
    ----------
    wave : sequence of float
        Observed vacuum wavelengths [um], increasing.
    resolution : sequence of float
        Resolving power lambda / FWHM at each wavelength.
    pixels_per_fwhm : float
        Number of detector pixels per FWHM of an unresolved line.
    noise_correlation : float, optional
        Correlation of the noise of neighboring detector pixels, as resampling in the reduction causes it.

    Attributes
    ----------
    log_wave : ndarray of shape (2048,)
        Natural logarithm of the observed wavelength [um], equally spaced.
    detector_position : ndarray of shape (2048,)
        Position of that wavelength on the detector, in units of the FWHM: an unresolved line has the same
        width everywhere on this scale.
    pixels_per_fwhm, noise_correlation : float
        As given.
    """

    def __init__(
        self,
        wave: Sequence[float],
        resolution: Sequence[float],
        pixels_per_fwhm: float,
        noise_correlation: float = 0.0,
    ) -> None:
        self.pixels_per_fwhm, self.noise_correlation = pixels_per_fwhm, noise_correlation
        self.log_wave: Floats = np.linspace(np.log(wave[0]), np.log(wave[-1]), 2048)
        interpolated = np.exp(np.interp(self.log_wave, np.log(wave), np.log(resolution)))
        steps = 0.5 * (interpolated[1:] + interpolated[:-1]) * np.diff(self.log_wave)
        self.detector_position: Floats = np.concatenate([[0.0], np.cumsum(steps)])


class DispersionTable(NamedTuple):
    """A `Disperser` as arrays, for compiled functions; empty arrays if the instrument is not known."""

    log_wave: Floats
    detector_position: Floats
    pixels_per_fwhm: float


def unpack_disperser(disperser: Disperser | None) -> DispersionTable:
    """Return the tables that `fill_detector_positions` takes.

    Parameters
    ----------
    disperser : Disperser or None
        Dispersion of the instrument; None if it is not known, which gives empty tables.
    """
    if disperser is None:
        return DispersionTable(np.zeros(0), np.zeros(0), 1.0)
    return DispersionTable(disperser.log_wave, disperser.detector_position, float(disperser.pixels_per_fwhm))


@njit_nogil
def fill_detector_positions(
    log_edges: Floats,
    z: float,
    log_wave_table: Floats,
    position_table: Floats,
    pixels_per_fwhm: float,
    position: Floats,
    pixel_width: Floats,
) -> None:
    """Compute where the pixels of a rest-frame grid lie on the detector.

    Parameters
    ----------
    log_edges : ndarray of shape (n_pixels + 1,)
        Natural logarithm of the grid's pixel edges [Angstrom, rest frame].
    z : float
        Redshift.
    log_wave_table, position_table, pixels_per_fwhm
        See `DispersionTable`; with empty tables the grid's own pixels are used.
    position, pixel_width : ndarray of shape (n_pixels,)
        Output: center and width of each grid pixel [detector pixels]; NaN outside the instrument's range.
    """
    if len(log_wave_table) == 0:
        for i in range(len(position)):
            position[i], pixel_width[i] = i, 1.0
        return
    stretch = np.log(1e-4 * (1.0 + z))
    below = pixels_per_fwhm * interpolate_detector_position(
        log_edges[0] + stretch, log_wave_table, position_table
    )
    for i in range(len(position)):
        above = pixels_per_fwhm * interpolate_detector_position(
            log_edges[i + 1] + stretch, log_wave_table, position_table
        )
        position[i], pixel_width[i], below = 0.5 * (below + above), above - below, above


@njit_nogil
def interpolate_detector_position(log_wave: float, log_wave_table: Floats, position_table: Floats) -> float:
    """Return the detector position [FWHM] at a log wavelength [ln um]; NaN outside the table.

    Parameters
    ----------
    log_wave : float
        Natural logarithm of the wavelength [ln um].
    log_wave_table : ndarray of shape (n_nodes,)
        Equidistant log wavelengths of the table [ln um].
    position_table : ndarray of shape (n_nodes,)
        Positions of the table [FWHM].

    Returns
    -------
    float
        Position [FWHM].
    """
    at = (log_wave - log_wave_table[0]) / (log_wave_table[1] - log_wave_table[0])
    i = int(at)
    if not 0.0 <= at < len(log_wave_table) - 1:
        return np.nan
    return position_table[i] + (at - i) * (position_table[i + 1] - position_table[i])


@njit_nogil
def compute_noise_correlation(pixel_width: float) -> float:
    """Return how many grid pixels share the noise of one independent pixel, 1 if the grid's are much wider.

    Parameters
    ----------
    pixel_width : float
        Width of a grid pixel [detector pixels]; the average is over all offsets of the grid.
    """
    variance = (
        1.0 - pixel_width / 3.0 if pixel_width < 1.0 else (1.0 - 1.0 / (3.0 * pixel_width)) / pixel_width
    )
    return 1.0 / (pixel_width * variance)


NIRSPEC_PRISM_RESOLUTION = (
    (0.54, 83.0), (0.57, 75.0), (0.6, 68.0), (0.65, 59.0), (0.7, 52.0), (0.8, 42.6), (0.9, 37.0),
    (1.0, 33.8), (1.1, 32.2), (1.2, 31.8), (1.3, 32.3), (1.5, 35.3), (1.75, 41.9), (2.0, 51.0),
    (2.5, 75.0), (3.0, 106.0), (3.5, 144.0), (4.0, 189.0), (5.0, 300.0), (5.52, 375.0),
)  # fmt: skip
"""JWST/NIRSpec prism: observed wavelength [um] and lambda / (2.2 detector pixels), from before launch."""
NIRSPEC_PRISM = Disperser(
    [wave for wave, _ in NIRSPEC_PRISM_RESOLUTION],
    [r for _, r in NIRSPEC_PRISM_RESOLUTION],
    pixels_per_fwhm=2.2,
    noise_correlation=0.2,
)
"""In spectra of sources observed twice, pixels at distance 1, 2 and 4 correlate with 0.15, 0.08 and 0.03
(`tests.benchmarks.noise_correlation`); a coefficient of 0.2 between neighbors allows for all of them."""
UNKNOWN_INSTRUMENT = Disperser((1e-3, 1e4), (1e5, 1e5), 1.0)
"""Any wavelength, in pixels so narrow that the noise of a grid's pixels counts as independent."""
SPEX_PRISM = Disperser(
    (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.4, 1.6, 1.8, 2.1, 2.4, 2.6),
    (303, 321, 288, 264, 260, 266, 290, 327, 397, 487, 645, 863, 900),
    1.0,
)
"""SpeX prism: lambda / pixel width, the median of the library's files, which differ by a third."""
SDSS_SPECTROGRAPH = Disperser((0.3, 1.1), (4343.0, 4343.0), 1.0)
"""SDSS and BOSS: pixels of 1e-4 in log10(lambda)."""
DESI_SPECTROGRAPH = Disperser((0.3, 0.5, 0.7, 1.1), (3750.0, 6250.0, 8750.0, 13750.0), 1.0)
"""DESI: pixels of 0.8 Angstrom."""
