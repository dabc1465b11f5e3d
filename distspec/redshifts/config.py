"""Settings of the redshift estimator. Importing this module does not import torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from distspec.core.errors import ConfigError

WRONG_FRACTION = 0.02
"""Fraction of an archive's redshifts that is taken to be wrong, before the spectra are looked at."""


@dataclass(frozen=True)
class RedshiftConfig:
    """Settings of the redshift estimator."""

    z_min: float = 0.0
    """Lowest redshift."""
    z_max: float = 14.0
    """Highest redshift."""
    n_groups: int = 6
    """Number of groups of the fine mixture."""
    n_axes: int = 12
    """Number of principal axes of a group of the fine mixture."""
    n_coarse_axes: int = 8
    """Number of principal axes of the coarse mixture, which has one group."""
    n_proposals: int = 8
    """Number of redshifts that the coarse mixture proposes for a spectrum."""
    error_floor: float = 0.05
    """Error that is added in quadrature, as a fraction of the flux: models are not exact."""
    misfit_weight: float = 2.0
    """Factor by which χ² per pixel above its expectation widens p(z): errors of models are correlated."""
    systematic_error: float = 0.0004
    """Standard deviation of systematic errors of ln(1 + z), as of the wavelength calibration."""
    p_excluded: float = 0.004
    """Fraction of spectra whose p(z) excludes the true redshift."""
    n_smooth: int = 5
    """Number of functions of the smooth spectra that ``ln_bayes_factor`` compares with."""
    marginalize: bool = True
    """Integrate over amplitude and coefficients; else take their most probable values."""
    use_prior: bool = False
    """Use the distribution of redshifts that the model was trained on, as a normal distribution of ln(1 + z)
    of twice its width; else all ln(1 + z) are equally probable."""

    def __post_init__(self) -> None:
        if not -1.0 < self.z_min < self.z_max < np.inf:
            raise ConfigError(f"redshifts from {self.z_min} to {self.z_max}: need -1 < z_min < z_max")
        for name in ("n_groups", "n_axes", "n_coarse_axes", "n_proposals"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} {getattr(self, name)} must be positive")
        for name in ("error_floor", "misfit_weight", "systematic_error"):
            if not 0.0 <= getattr(self, name) < np.inf:
                raise ConfigError(f"{name} {getattr(self, name)} must be 0 or positive")
        if not 0.0 <= self.p_excluded < 1.0:
            raise ConfigError(f"p_excluded {self.p_excluded} must be at least 0 and below 1")
        if self.n_smooth < 4:
            raise ConfigError(f"n_smooth {self.n_smooth} must be at least 4")
