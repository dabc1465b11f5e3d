"""Populations of simulated galaxies: each class is a distribution over continuous parameters.

The distributions overlap, as those of real classes do. Together, and with the redshifts and exposure times of
`distspec.archives.simulated.survey`, they give the quantiles of redshift, signal-to-noise ratio of continuum
and Hα, and luminosity of Hα and [O III] of the 1,143 PRISM spectra of grade 3 at z > 4 in the DAWN JWST
Archive's catalog v2 (https://dawn-cph.github.io/dja). Little Red Dots have the median slopes and equivalent
widths of the published ones (de Graaff et al. 2025, arXiv:2511.21820), as measured on their spectra; quenched
galaxies are about 1 % of the sample, as published (Baker et al. 2025, arXiv:2410.14773).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from distspec.core.spectrum import Floats


@dataclass(frozen=True)
class GalaxyParameters:
    """Intrinsic parameters of galaxies, each an ndarray of shape (n_galaxies,)."""

    abs_mag_4200: Floats
    """Absolute AB magnitude at 4200 Å after dust attenuation [mag]."""
    log_age: Floats
    """log₁₀ of the light-weighted age [Myr]; sets the Balmer break and the light of evolved stars."""
    beta: Floats
    """Slope β of f_λ ∝ λ^β of the young stars, before dust attenuation."""
    log_a_v: Floats
    """log₁₀ of the attenuation in the V band [mag]."""
    logit_red_fraction: Floats
    """Logit of the fraction of f_λ at 5500 Å in a red component (the optical light of a Little Red Dot)."""
    beta_red_component: Floats
    """Slope β of the red component."""
    log_ew_ha: Floats
    """log₁₀ of the rest equivalent width of Hα, narrow plus broad [Å]."""
    log_r3: Floats
    """log₁₀ of the flux ratio [O III] 5007 / narrow Hβ."""
    log_o32: Floats
    """log₁₀ of the flux ratio [O III] 5007 / [O II], before dust attenuation."""
    log_ew_lya: Floats
    """log₁₀ of the rest equivalent width of Lyα before intergalactic absorption [Å]."""
    log_ew_ciii: Floats
    """log₁₀ of the rest equivalent width of C III] 1908 [Å]."""
    logit_broad_fraction: Floats
    """Logit of the broad fraction of the Hα flux."""
    log_fwhm_broad: Floats
    """log₁₀ of the FWHM of broad lines [km s-1]."""
    log_n_hi: Floats
    """log₁₀ of the column density of neutral hydrogen at the galaxy's redshift [cm-2]."""
    igm_scatter: Floats
    """ln of the optical depth of the Lyman forest relative to the mean."""
    ew_unknown_line: Floats
    """Rest equivalent width of an unidentified line [Å]; 0 except for one type of anomaly."""
    wave_unknown_line: Floats
    """Rest wavelength of the unidentified line [Å]; 5000 if there is none."""

    def __len__(self) -> int:
        return len(self.abs_mag_4200)


DRAWN_PARAMETERS = tuple(
    field.name for field in fields(GalaxyParameters) if not field.name.endswith("_unknown_line")
)
"""Parameters that are drawn for every galaxy, in order."""
PARAMETER_UNITS: Mapping[str, str] = {
    "abs_mag_4200": "mag",
    "log_age": "log10(Myr)",
    "log_a_v": "log10(mag)",
    "log_ew_ha": "log10(Angstrom)",
    "log_ew_lya": "log10(Angstrom)",
    "log_ew_ciii": "log10(Angstrom)",
    "log_fwhm_broad": "log10(km / s)",
    "log_n_hi": "log10(cm-2)",
    "ew_unknown_line": "Angstrom",
    "wave_unknown_line": "Angstrom",
}
"""Units of the parameters that are not dimensionless."""
CLASS_COUNTS: Mapping[str, int] = {
    "star_forming": 1750,
    "quenched": 40,
    "high_z_analog": 330,
    "lae": 220,
    "eelg": 250,
    "lrd": 150,
}
"""Relative sizes of the classes."""
_STAR_FORMING: Mapping[str, tuple[float, float]] = {
    "abs_mag_4200": (-19.0, 0.9),
    "log_age": (1.7, 0.45),
    "beta": (-2.25, 0.2),
    "log_a_v": (-0.5, 0.35),
    "logit_red_fraction": (-3.0, 1.3),
    "beta_red_component": (0.3, 0.5),
    "log_ew_ha": (2.67, 0.3),
    "log_r3": (0.72, 0.15),
    "log_o32": (0.5, 0.3),
    "log_ew_lya": (0.4, 0.6),
    "log_ew_ciii": (0.4, 0.35),
    "logit_broad_fraction": (-3.0, 1.3),
    "log_fwhm_broad": (3.35, 0.15),
    "log_n_hi": (20.8, 0.7),
    "igm_scatter": (0.0, 0.15),
}
POPULATIONS: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "star_forming": _STAR_FORMING,
    "quenched": {
        **_STAR_FORMING,
        "abs_mag_4200": (-20.5, 0.8),
        "log_age": (2.75, 0.25),
        "log_ew_ha": (1.0, 0.45),
        "log_r3": (0.3, 0.25),
        "log_o32": (-0.1, 0.3),
        "log_ew_lya": (-0.3, 0.6),
        "log_ew_ciii": (-0.2, 0.4),
    },
    "high_z_analog": {
        **_STAR_FORMING,
        "log_age": (1.5, 0.35),
        "beta": (-2.45, 0.15),
        "log_a_v": (-0.9, 0.3),
        "log_ew_ha": (2.3, 0.25),
        "log_r3": (0.6, 0.2),
        "log_ew_lya": (0.1, 0.6),
        "log_n_hi": (21.3, 0.7),
    },
    "lae": {
        **_STAR_FORMING,
        "abs_mag_4200": (-18.5, 0.9),
        "log_age": (1.2, 0.35),
        "beta": (-2.4, 0.2),
        "log_a_v": (-0.9, 0.3),
        "log_ew_ha": (2.85, 0.3),
        "log_r3": (0.7, 0.13),
        "log_o32": (0.9, 0.3),
        "log_ew_lya": (1.9, 0.3),
        "log_ew_ciii": (0.7, 0.35),
        "log_n_hi": (19.8, 0.7),
    },
    "eelg": {
        **_STAR_FORMING,
        "abs_mag_4200": (-18.3, 0.9),
        "log_age": (0.9, 0.3),
        "beta": (-2.4, 0.2),
        "log_a_v": (-0.7, 0.3),
        "log_ew_ha": (3.2, 0.2),
        "log_r3": (0.8, 0.1),
        "log_o32": (1.1, 0.3),
        "log_ew_lya": (0.9, 0.6),
        "log_ew_ciii": (0.95, 0.3),
    },
    "lrd": {
        **_STAR_FORMING,
        "abs_mag_4200": (-19.6, 0.8),
        "log_age": (1.3, 0.4),
        "beta": (-2.0, 0.25),
        "log_a_v": (-0.9, 0.3),
        "logit_red_fraction": (1.7, 0.8),
        "beta_red_component": (1.7, 0.5),
        "log_ew_ha": (2.95, 0.2),
        "log_r3": (0.35, 0.3),
        "log_ew_lya": (0.7, 0.6),
        "logit_broad_fraction": (1.0, 1.0),
        "log_fwhm_broad": (3.3, 0.15),
    },
    "quasar": {
        **_STAR_FORMING,
        "abs_mag_4200": (-22.3, 0.8),
        "log_age": (0.8, 0.2),
        "beta": (-1.6, 0.2),
        "log_a_v": (-1.2, 0.2),
        "log_ew_ha": (2.5, 0.15),
        "log_o32": (1.0, 0.3),
        "log_ew_lya": (1.8, 0.2),
        "log_ew_ciii": (1.35, 0.15),
        "logit_broad_fraction": (3.5, 0.4),
        "log_fwhm_broad": (3.7, 0.1),
        "log_n_hi": (18.5, 0.5),
    },
}
"""Mean and standard deviation of each parameter. Quasars are a type of anomaly, not a class."""
CORRELATIONS: Mapping[tuple[str, str], float] = {
    ("log_age", "log_ew_ha"): -0.6,
    ("log_age", "log_o32"): -0.4,
    ("log_ew_ha", "log_o32"): 0.6,
    ("log_o32", "log_r3"): 0.5,
    ("log_ew_ha", "log_ew_ciii"): 0.4,
    ("log_ew_lya", "log_a_v"): -0.4,
    ("log_ew_lya", "log_n_hi"): -0.5,
    ("beta", "log_a_v"): 0.3,
    ("abs_mag_4200", "log_a_v"): -0.2,
}
"""Correlation coefficients within a class: young galaxies have strong lines and hard ionizing spectra;
dust and gas absorb Lyα."""


def _correlation_cholesky() -> Floats:
    matrix = np.eye(len(DRAWN_PARAMETERS))
    for (one, other), value in CORRELATIONS.items():
        i, j = DRAWN_PARAMETERS.index(one), DRAWN_PARAMETERS.index(other)
        matrix[i, j] = matrix[j, i] = value
    return np.linalg.cholesky(matrix).astype(np.float64)


_CORRELATION_CHOLESKY = _correlation_cholesky()


def draw_galaxies(populations: Sequence[str], normals: Floats) -> GalaxyParameters:
    """Draw the parameters of galaxies.

    Parameters
    ----------
    populations : sequence of str, length n_galaxies
        Keys of `POPULATIONS`.
    normals : ndarray of shape (n_galaxies, n_parameters)
        Independent standard normal numbers, one per parameter in `DRAWN_PARAMETERS`.

    Returns
    -------
    GalaxyParameters
    """
    moments = np.array([[POPULATIONS[name][key] for key in DRAWN_PARAMETERS] for name in populations])
    moments = moments.reshape(len(populations), len(DRAWN_PARAMETERS), 2)
    # Clipped at 2.5 sigma to avoid unphysical values. Summed row by row, because a matrix product may round
    # differently for another number of rows, and files must not depend on it.
    correlated = np.clip((normals[:, None, :] * _CORRELATION_CHOLESKY).sum(axis=2), -2.5, 2.5)
    values = moments[..., 0] + moments[..., 1] * correlated
    columns = {key: values[:, i] for i, key in enumerate(DRAWN_PARAMETERS)}
    absent = np.zeros(len(populations))
    return GalaxyParameters(**columns, ew_unknown_line=absent, wave_unknown_line=absent + 5000.0)
