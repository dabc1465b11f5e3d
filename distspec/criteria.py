"""How likely what was read off spectra lies on one side of a threshold, and what is not covered."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from distspec.lines import GALAXY_LINES
from distspec.spectrum import Floats, Floats32

DETECTED = 3.0
"""A line is there from so many σ on."""
TO_HALPHA = 2.86 * (GALAXY_LINES["Hα"] / GALAXY_LINES["Hβ"]) ** 2
"""Equivalent width of Hα over Hβ's: case B at 10⁴ K over a continuum that is flat in f_ν."""
_POINTS = (np.arange(32) + 0.5) / 32.0


class Read:
    """What was read off N spectra.

    Parameters
    ----------
    values : mapping
        The columns of `distspec.diagnostics.measured`, (N,) each; NaN where not covered.
    """

    def __init__(self, values: Mapping[str, Floats32]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> tuple[Floats, Floats]:
        """Return a measure and its error; "balmer_ew" is the best there is of Hα's equivalent width [Å]."""
        if name != "balmer_ew":
            return self._values[name].astype(np.float64), self._values[f"{name}_err"].astype(np.float64)
        value, error = self["halpha_ew"]
        for other, factor in (("halpha_blue_ew", 1.0), ("hbeta_ew", TO_HALPHA)):
            instead, its_error = self[other]
            value, error = (
                np.where(np.isnan(value), factor * instead, value),
                np.where(np.isnan(value), factor * its_error, error),
            )
        return value, error

    def covers(self, name: str) -> NDArray[np.bool_]:
        """Tell of which spectra a measure could be taken, (N,)."""
        return ~np.isnan(self[name][0])

    def above(self, name: str, threshold: float) -> Floats:
        """Return how likely a measure exceeds a threshold, (N,); 0.5 where not covered."""
        value, error = self[name]
        return np.where(np.isnan(value), 0.5, ndtr((value - threshold) / error))

    def below(self, name: str, threshold: float) -> Floats:
        """Return how likely a measure lies below a threshold, (N,); 0.5 where not covered."""
        return 1.0 - self.above(name, threshold)

    def emits(self, thresholds: Mapping[str, float]) -> Floats:
        """Return how likely any covered line is detected and wider than its threshold [Å], (N,).

        0.5 where none is covered.
        """
        none = np.ones_like(self[next(iter(thresholds))][0])
        for name, threshold in thresholds.items():
            value, error = self[name]
            snr = self._values.get(name.replace("_ew", "_snr"))
            detected = ndtr((value / error if snr is None else snr.astype(np.float64)) - DETECTED)
            none *= np.where(self.covers(name), 1.0 - detected * self.above(name, threshold), 1.0)
        covered = np.any([self.covers(name) for name in thresholds], axis=0)
        return np.where(covered, 1.0 - none, 0.5)

    def is_v(self, most: float, least: float, apart: float) -> Floats:
        """Return how likely β_UV < most, β_opt > least and β_opt − β_UV > apart, (N,).

        The third hangs on the other two: the integral over β_UV is done by the quantiles of what lies below
        its threshold.
        """
        (uv, uv_error), (opt, opt_error) = self["beta_uv"], self["beta_opt"]
        blue = self.below("beta_uv", most)
        within = uv[:, None] + uv_error[:, None] * ndtri(np.maximum(_POINTS * blue[:, None], 1e-300))
        within = np.where(self.covers("beta_uv")[:, None], within, -np.inf)
        needed = np.maximum(least, within + apart)
        red = ndtr((opt[:, None] - needed) / opt_error[:, None]).mean(axis=1)
        return blue * np.where(self.covers("beta_opt"), red, 0.5)
