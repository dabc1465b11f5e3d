"""Probabilities that criteria on measurements hold, given Gaussian errors.

A measurement that a spectrum does not cover gives a probability of 0.5, as an infinite error would: what is
not covered is neither present nor absent.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from distspec.core.lines import GALAXY_LINES
from distspec.core.spectrum import Floats, Floats32

DETECTION_SNR = 3.0
"""Signal-to-noise ratio from which on a line counts as detected."""
HALPHA_TO_HBETA_EW = 2.86 * (GALAXY_LINES["Hα"] / GALAXY_LINES["Hβ"]) ** 2
"""Ratio of the equivalent widths of Hα and Hβ: case B at 10⁴ K over a continuum that is flat in f_nu."""
_QUANTILES = (np.arange(32) + 0.5) / 32.0


class MeasuredValues:
    """Measured values of a batch of spectra, with the probabilities of criteria on them.

    Parameters
    ----------
    values : mapping of str to ndarray of shape (n_spectra,)
        The columns of a `distspec.measurements.definitions.MeasurementSet`; NaN where not covered.
    """

    def __init__(self, values: Mapping[str, Floats32]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> tuple[Floats, Floats]:
        """Return value and error of a measurement.

        "balmer_ew" is the best estimate of the equivalent width of Hα [Angstrom]: from both sides of
        its continuum, from the blueward continuum, or from Hβ.
        """
        if name != "balmer_ew":
            return self._values[name].astype(np.float64), self._values[f"{name}_err"].astype(np.float64)
        value, error = self["halpha_ew"]
        for other_name, factor in (("halpha_blue_ew", 1.0), ("hbeta_ew", HALPHA_TO_HBETA_EW)):
            other, other_error = self[other_name]
            value, error = (
                np.where(np.isnan(value), factor * other, value),
                np.where(np.isnan(value), factor * other_error, error),
            )
        return value, error

    def is_covered(self, name: str) -> NDArray[np.bool_]:
        """Return which spectra cover a measurement.

        Parameters
        ----------
        name : str
            Name of the measurement.

        Returns
        -------
        ndarray of bool, shape (n_spectra,)
        """
        return ~np.isnan(self[name][0])

    def prob_above(self, name: str, threshold: float) -> Floats:
        """Return the probability that a measurement exceeds a threshold.

        Parameters
        ----------
        name : str
            Name of the measurement.
        threshold : float
            Threshold in the unit of the measurement.

        Returns
        -------
        ndarray of shape (n_spectra,)
        """
        value, error = self[name]
        return np.where(np.isnan(value), 0.5, ndtr((value - threshold) / error))

    def prob_below(self, name: str, threshold: float) -> Floats:
        """Return the probability that a measurement is below a threshold.

        Parameters
        ----------
        name : str
            Name of the measurement.
        threshold : float
            Threshold in the unit of the measurement.

        Returns
        -------
        ndarray of shape (n_spectra,)
        """
        return 1.0 - self.prob_above(name, threshold)

    def prob_emission(self, thresholds: Mapping[str, float]) -> Floats:
        """Return the probability that at least one covered line is detected and exceeds its threshold.

        Parameters
        ----------
        thresholds : mapping of str to float
            Minimum equivalent width [Angstrom] by name of a measurement.

        Returns
        -------
        ndarray of shape (n_spectra,)
            0.5 where no line is covered.
        """
        prob_none = np.ones_like(self[next(iter(thresholds))][0])
        for name, threshold in thresholds.items():
            value, error = self[name]
            snr = self._values.get(name.replace("_ew", "_snr"))
            detected = ndtr((value / error if snr is None else snr.astype(np.float64)) - DETECTION_SNR)
            prob_none *= np.where(
                self.is_covered(name), 1.0 - detected * self.prob_above(name, threshold), 1.0
            )
        covered = np.any([self.is_covered(name) for name in thresholds], axis=0)
        return np.where(covered, 1.0 - prob_none, 0.5)

    def prob_v_shape(
        self,
        max_beta_uv: float,
        min_beta_opt: float,
        min_beta_difference: float,
        beta_opt_prior: tuple[float, float] = (0.0, np.inf),
    ) -> Floats:
        """Return the probability of a V-shaped continuum.

        The third criterion depends on the other two: beta_uv is integrated over the quantiles of its
        distribution below the threshold.

        Parameters
        ----------
        max_beta_uv, min_beta_opt : float
            Limits of the slopes blueward and redward of the Balmer limit.
        min_beta_difference : float
            Minimum of beta_opt - beta_uv.
        beta_opt_prior : (float, float)
            Mean and standard deviation of a Gaussian prior on beta_opt. Without it, many of the numerous
            faint galaxies whose slopes noise has reddened would count as V-shaped.

        Returns
        -------
        ndarray of shape (n_spectra,)
        """
        (uv, uv_error), (opt, opt_error) = self["beta_uv"], self["beta_opt"]
        prior_mean, prior_width = beta_opt_prior
        shrinkage = 1.0 / (1.0 + np.square(opt_error / prior_width))
        opt, opt_error = prior_mean + shrinkage * (opt - prior_mean), opt_error * np.sqrt(shrinkage)
        prob_blue = self.prob_below("beta_uv", max_beta_uv)
        quantiles = np.maximum(_QUANTILES * prob_blue[:, None], 1e-300)
        beta_uv = uv[:, None] + uv_error[:, None] * ndtri(quantiles)
        beta_uv = np.where(self.is_covered("beta_uv")[:, None], beta_uv, -np.inf)
        required = np.maximum(min_beta_opt, beta_uv + min_beta_difference)
        prob_red = ndtr((opt[:, None] - required) / opt_error[:, None]).mean(axis=1)
        return prob_blue * np.where(self.is_covered("beta_opt"), prob_red, 0.5)
