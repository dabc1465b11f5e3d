"""Bad pixels, found from each spectrum alone: features that neither a source nor the optics can produce.

A line is never narrower than the instrument's line-spread function, flux is not negative, noise scatters as
the errors say, and a spectrum does not rise steeply at the end of the detector. Departures from that are
measured without a model and without other spectra. Distances are in detector pixels, because a grid pixel
covers several of them at some wavelengths and a fraction of one at others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distspec.core.instruments import Disperser, unpack_disperser
from distspec.core.spectrum import Floats, Floats32, WavelengthGrid
from distspec.measurements.bad_pixel_search import search_bad_pixels

THRESHOLDS: Mapping[str, float] = {
    "artefact_spikes": 25.0,
    "artefact_negative": 5.0,
    "artefact_edge": 2.5,
    "artefact_scatter": 4.0,
    "artefact_gaps": 0.8,
}
"""Value of each statistic, in its own unit, at which `artefact_score` is 1."""
DESCRIPTIONS: Mapping[str, str] = {
    "artefact_spikes": "spikes or plateaus sharper than the instrument's line-spread function",
    "artefact_negative": "a run of negative flux",
    "artefact_edge": "excess flux at an end of the spectrum",
    "artefact_scatter": "noise larger than its errors",
    "artefact_gaps": "few valid pixels",
}
"""Text for each statistic, used by `describe_worst_statistic`."""
BAD_PIXEL_COLUMNS = (*THRESHOLDS, "artefact_score", "n_masked")
"""Names of the columns that `BadPixelStatistics.to_columns` returns."""


class BadPixelStatistics(NamedTuple):
    """Bad pixels of a batch of spectra, and statistics of how strongly each spectrum is affected.

    Attributes
    ----------
    spike_height : ndarray of shape (n_spectra,)
        Summed heights of spikes that are narrower, and of plateaus that are squarer, than any line can be
        [sigma].
    negative_run_snr : ndarray of shape (n_spectra,)
        Significance of the most negative run of
        `distspec.measurements.bad_pixel_search.WINDOW_WIDTH` detector pixels [sigma].
    edge_excess : ndarray of shape (n_spectra,)
        Excess of the median signal-to-noise ratio at either end over 1.1 times that farther inside.
    scatter_ratio : ndarray of shape (n_spectra,)
        Robust scatter from pixel to pixel divided by that expected from the errors; 1 if they are right.
    masked_fraction : ndarray of shape (n_spectra,)
        Fraction of the pixels in the instrument's range that are masked.
    bad_pixels : ndarray of bool, shape (n_spectra, n_pixels)
        Valid pixels that no source can have produced.
    """

    spike_height: Floats32
    negative_run_snr: Floats32
    edge_excess: Floats32
    scatter_ratio: Floats32
    masked_fraction: Floats32
    bad_pixels: NDArray[np.bool_]

    @property
    def score(self) -> Floats32:
        """Largest statistic divided by its threshold, (n_spectra,); a spectrum is flagged at 1 or above."""
        over = [
            values / threshold
            for values, threshold in zip(self._statistics, THRESHOLDS.values(), strict=True)
        ]
        return np.maximum(np.max(over, axis=0), 0.0).astype(np.float32)

    @property
    def _statistics(self) -> tuple[Floats32, ...]:
        """The statistics in the order of `THRESHOLDS`."""
        return (
            self.spike_height,
            self.negative_run_snr,
            self.edge_excess,
            self.scatter_ratio,
            self.masked_fraction,
        )

    def to_columns(self) -> dict[str, Floats32]:
        """Return the columns `BAD_PIXEL_COLUMNS`.

        Returns
        -------
        dict of str to ndarray of float32, shape (n_spectra,)
            Values by column name.
        """
        n_masked = np.count_nonzero(self.bad_pixels, axis=1).astype(np.float32)
        return dict(zip(BAD_PIXEL_COLUMNS, (*self._statistics, self.score, n_masked), strict=True))


def describe_worst_statistic(statistics: Mapping[str, float]) -> str:
    """Describe the statistic of a spectrum that exceeds its threshold most; "" if none does.

    Parameters
    ----------
    statistics : mapping of str to float
        Value of each name in `THRESHOLDS`.

    Examples
    --------
    >>> describe_worst_statistic(dict.fromkeys(THRESHOLDS, 0.0) | {"artefact_negative": 18.0})
    'a run of negative flux (3.6 times the threshold)'
    """
    over = {name: statistics[name] / threshold for name, threshold in THRESHOLDS.items()}
    worst = max(over, key=lambda name: over[name])
    return f"{DESCRIPTIONS[worst]} ({over[worst]:.1f} times the threshold)" if over[worst] >= 1.0 else ""


def find_bad_pixels(
    flux: Floats32, ivar: Floats32, z: Floats, grid: WavelengthGrid, disperser: Disperser | None
) -> BadPixelStatistics:
    """Find bad pixels; the result for a spectrum depends on that spectrum alone.

    Parameters
    ----------
    flux, ivar : ndarray of shape (n_spectra, n_pixels)
        Flux density f_lambda in any unit, and its inverse variance; ``ivar`` 0 marks masked pixels.
    z : ndarray of shape (n_spectra,)
        Redshifts, which give the position of each pixel on the detector.
    grid : WavelengthGrid
        Rest-frame grid of the spectra.
    disperser : Disperser or None
        The instrument. If None, each grid pixel is taken for one detector pixel, as wide as its resolution,
        and plateaus are not sought.

    Returns
    -------
    BadPixelStatistics
    """
    n, n_pixels = flux.shape
    statistics, bad = np.zeros((n, 5)), np.zeros((n, n_pixels), np.bool_)
    log_wave_table, position_table, pixels_per_fwhm = unpack_disperser(disperser)
    search_bad_pixels(
        flux,
        ivar,
        np.asarray(z, np.float64),
        np.log(grid.edges),
        log_wave_table,
        position_table,
        pixels_per_fwhm,
        statistics,
        bad,
    )
    spikes, negative, edge, scatter, gaps = statistics.T.astype(np.float32)
    return BadPixelStatistics(spikes, negative, edge, scatter, gaps, bad)
