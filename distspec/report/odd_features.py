"""The feature of a spectrum that is most unusual, for the figure of anomalies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from distspec.core.spectrum import Floats


@dataclass(frozen=True)
class OddFeature:
    """Where a spectrum is most unusual.

    Attributes
    ----------
    wave : float
        Rest wavelength [Angstrom].
    residual : float
        Data minus reconstruction there [sigma].
    """

    wave: float
    residual: float


def find_odd_feature(residual: Floats, wave_rest: Floats) -> OddFeature | None:
    """Find the pixel with the largest residual, which the reason of an anomaly names, too.

    Parameters
    ----------
    residual : ndarray of shape (n_pixels,)
        Data minus reconstruction [sigma]; NaN for masked pixels.
    wave_rest : ndarray of shape (n_pixels,)
        Rest wavelength [Angstrom].

    Returns
    -------
    OddFeature or None
        None if no pixel is valid.

    Examples
    --------
    >>> find_odd_feature(np.array([0.5, -7.0, np.nan]), np.array([4000.0, 5000.0, 6000.0]))
    OddFeature(wave=5000.0, residual=-7.0)
    """
    if not np.isfinite(residual).any():
        return None
    i = int(np.nanargmax(np.abs(residual)))
    return OddFeature(float(wave_rest[i]), float(residual[i]))
