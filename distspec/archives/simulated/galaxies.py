"""Intrinsic spectra of simulated galaxies: continuum, lines and intergalactic absorption.

The components are simple (power laws, one Balmer break, a dust law, line ratios), not stellar population
models. They make spectra whose classes overlap for the same reasons as those of real galaxies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from distspec.archives.simulated.populations import GalaxyParameters
from distspec.core.lines import GALAXY_LINES
from distspec.core.spectrum import Floats

LYA_WAVE = GALAXY_LINES["Lyα"]
BALMER_LIMIT = 3646.0
LYMAN_LIMIT = 911.75


def attenuation(wave_rest: Floats) -> Floats:
    """Return the attenuation curve A(λ)/A_V.

    Parameters
    ----------
    wave_rest : ndarray
        Rest wavelength [Angstrom].

    References
    ----------
    Calzetti et al. 2000, ApJ 533, 682, eq. 4.
    """
    x = 1.0 / np.clip(wave_rest * 1e-4, 0.09, 2.2)
    blue = 2.659 * (-2.156 + 1.509 * x - 0.198 * x**2 + 0.011 * x**3)
    red = 2.659 * (-1.857 + 1.040 * x)
    return np.where(x > 1.0 / 0.63, blue, red) / 4.05 + 1.0


def evolved_fraction(galaxies: GalaxyParameters) -> Floats:
    """Return the fraction of f_λ at 4200 Å from evolved stars, of shape (n_galaxies,).

    Parameters
    ----------
    galaxies : GalaxyParameters
        Parameters of the galaxies; the fraction depends on their age only.
    """
    return expit((galaxies.log_age - 2.25) / 0.22)


def _stellar_continuum(galaxies: GalaxyParameters, wave_rest: Floats) -> Floats:
    """Return f_λ of young and evolved stars without dust, relative to their sum at 4200 Å."""
    age, beta = galaxies.log_age[:, None], galaxies.beta[:, None]
    # The nebular continuum of the youngest stars has a Balmer jump, the inverse of the break of evolved
    # stars.
    jump = 0.4 * np.exp(-(10.0**age) / 15.0)
    young = (wave_rest / 4200.0) ** beta
    young *= 1.0 + np.where(wave_rest < BALMER_LIMIT, jump * (wave_rest / BALMER_LIMIT) ** 2, 0.0)
    # High-order Balmer lines smear the break over 3650-4000 Å; it deepens with age.
    depth = 1.0 - 1.0 / np.clip(1.8 + 1.3 * (age - 2.0), 1.5, 4.0)
    evolved = (wave_rest / 4200.0) ** -1.3 * (1.0 - depth * expit((3760.0 - wave_rest) / 60.0))
    evolved /= 1.0 + (2400.0 / wave_rest) ** 6
    share = evolved_fraction(galaxies)[:, None]
    return (1.0 - share) * young + share * evolved


def continuum(galaxies: GalaxyParameters, wave_rest: Floats) -> Floats:
    """Return f_λ relative to its value at 4200 Å, before intergalactic absorption.

    Parameters
    ----------
    galaxies : GalaxyParameters
        Parameters of the galaxies.
    wave_rest : ndarray of shape (n_galaxies, n_wave) or (1, n_wave)
        Rest wavelength [Angstrom].

    Returns
    -------
    ndarray of shape (n_galaxies, n_wave)
    """

    def shape(wave: Floats) -> Floats:
        dust = 10.0 ** (-0.4 * 10.0 ** galaxies.log_a_v[:, None] * attenuation(wave))
        return _stellar_continuum(galaxies, wave) * dust

    reference = np.full((1, 1), 5500.0)
    fraction = expit(galaxies.logit_red_fraction)[:, None]

    def red(wave: Floats) -> Floats:
        # The V-shaped continuum of Little Red Dots turns at the Balmer limit (Setton et al. 2024).
        rise = (wave / 5500.0) ** galaxies.beta_red_component[:, None]
        return fraction / (1.0 - fraction) * rise * expit((wave - BALMER_LIMIT) / 150.0)

    def total(wave: Floats) -> Floats:
        return shape(wave) + shape(reference) * red(wave)

    return total(wave_rest) / total(np.full((1, 1), 4200.0))


# Case B at 10⁴ K relative to Hβ (Osterbrock & Ferland 2006), and typical ratios of weak metal lines.
_HB_RATIOS = {"Hα": 2.86, "Hβ": 1.0, "Hγ": 0.468, "Hδ": 0.259, "He I": 0.12, "He I 7065": 0.05}
_OIII_RATIOS = {"[O III] 5007": 1.0, "[O III] 4959": 0.336, "[Ne III]": 0.09}
_CIII_RATIOS = {"C III]": 1.0, "O III]": 0.3, "He II": 0.25, "C IV": 0.35}
_QUASAR_CIII_RATIOS = {"C III]": 1.0, "C IV": 1.6, "Mg II": 1.3}
_BALMER_ABSORPTION_EW = {"Hβ": 6.0, "Hγ": 7.0, "Hδ": 8.0}  # [Å], for A stars
NARROW_FWHM = 250.0  # [km/s]


@dataclass(frozen=True)
class GaussianLines:
    """Gaussian lines of galaxies, in emission (positive equivalent width) or absorption.

    Attributes
    ----------
    wave_rest : ndarray of shape (n_galaxies, n_lines)
        Rest wavelength [Angstrom].
    ew : ndarray of shape (n_galaxies, n_lines)
        Rest equivalent width [Angstrom].
    fwhm : ndarray of shape (n_galaxies, n_lines)
        Full width at half maximum [km s-1].
    """

    wave_rest: Floats
    ew: Floats
    fwhm: Floats


def compute_lines(galaxies: GalaxyParameters) -> GaussianLines:
    """Return recombination, forbidden, ultraviolet, broad and absorption lines of galaxies.

    Parameters
    ----------
    galaxies : GalaxyParameters
        Parameters of the galaxies.

    Returns
    -------
    GaussianLines
        All lines of each galaxy; a line that a galaxy lacks has an equivalent width of 0.
    """
    table: list[tuple[Floats, Floats, Floats]] = []
    zeros = np.zeros(len(galaxies))
    narrow_width, broad_width = zeros + NARROW_FWHM, 10.0**galaxies.log_fwhm_broad

    def level(wave: float) -> Floats:
        return continuum(galaxies, np.full((1, 1), wave))[:, 0]

    def dust(wave: float) -> Floats:
        """Return the attenuation relative to that of Hα."""
        curve = attenuation(np.array([wave, GALAXY_LINES["Hα"]]))
        return 10.0 ** (-0.4 * 10.0**galaxies.log_a_v * (curve[0] - curve[1]))

    def add(name: str, flux: Floats, width: Floats) -> None:
        wave = GALAXY_LINES[name]
        table.append((zeros + wave, flux / level(wave), width))

    ha = 10.0**galaxies.log_ew_ha * level(GALAXY_LINES["Hα"])
    broad = ha * expit(galaxies.logit_broad_fraction)
    hb = (ha - broad) / _HB_RATIOS["Hα"]  # before dust, like the lines scaled to it
    o3 = hb * 10.0**galaxies.log_r3
    o2 = o3 * 10.0**-galaxies.log_o32
    fluxes = {name: hb * ratio for name, ratio in _HB_RATIOS.items()}
    fluxes |= {name: o3 * ratio for name, ratio in _OIII_RATIOS.items()}
    fluxes |= {"[O II]": o2, "[S II]": 0.3 * o2, "[O I]": 0.05 * o2}
    for name, flux in fluxes.items():
        add(name, flux * dust(GALAXY_LINES[name]), narrow_width)
    # Observed broad-line decrements are steeper than case B, with Hα/Hβ near 8.
    for name, ratio in {"Hα": 1.0, "Hβ": 0.12, "Hγ": 0.04, "He I": 0.03, "He I 7065": 0.02}.items():
        add(name, broad * ratio, broad_width)

    active = expit(2.0 * (galaxies.logit_broad_fraction - 3.0))  # ultraviolet lines of quasars are broad
    ciii, lya = 10.0**galaxies.log_ew_ciii, 10.0**galaxies.log_ew_lya
    ultraviolet = [(_CIII_RATIOS, ciii * (1.0 - active), narrow_width)]
    ultraviolet += [(_QUASAR_CIII_RATIOS, ciii * active, broad_width)]
    ultraviolet += [({"Lyα": 1.0}, lya * (1.0 - active), narrow_width)]
    ultraviolet += [({"Lyα": 1.0, "N V": 0.25}, lya * active, broad_width)]
    for ratios, ew, width in ultraviolet:
        table += [(zeros + GALAXY_LINES[name], ew * r, width) for name, r in ratios.items()]
    for name, ew in _BALMER_ABSORPTION_EW.items():
        table.append((zeros + GALAXY_LINES[name], -ew * evolved_fraction(galaxies), zeros + 2000.0))
    table.append((galaxies.wave_unknown_line, galaxies.ew_unknown_line, narrow_width))
    wave, ew, width = (np.stack(column, axis=1) for column in zip(*table, strict=True))
    return GaussianLines(wave, ew, width)


# Coefficients of the Lyman forest, Lyα to Lyδ (Inoue et al. 2014, MNRAS 442, 1805, table 2).
_LYMAN_FOREST_COEFFICIENTS = (
    (1215.67, 1.690e-2, 2.354e-3, 1.026e-4),
    (1025.72, 4.692e-3, 6.536e-4, 2.849e-5),
    (972.54, 2.239e-3, 3.119e-4, 1.360e-5),
    (949.74, 1.319e-3, 1.837e-4, 8.010e-6),
)


def igm_transmission(galaxies: GalaxyParameters, z: Floats, wave_obs: Floats) -> Floats:
    """Return the transmission of neutral hydrogen along the line of sight.

    It includes the mean Lyman forest with a scatter between lines of sight, full absorption beyond the
    Lyman limit, the damping wing of a neutral intergalactic medium to leading order, and that of the
    galaxy's own gas.

    Parameters
    ----------
    galaxies : GalaxyParameters
        Parameters of the galaxies.
    z : ndarray of shape (n_galaxies,)
        Redshift.
    wave_obs : ndarray of shape (n_wave,)
        Observed wavelength [Angstrom].

    Returns
    -------
    ndarray of shape (n_galaxies, n_wave)

    References
    ----------
    Inoue et al. 2014, MNRAS 442, 1805, eq. 21 (first four lines); Miralda-Escudé 1998, ApJ 501, 15.
    """
    forest = np.zeros((len(galaxies), len(wave_obs)))
    for line, low, middle, high in _LYMAN_FOREST_COEFFICIENTS:
        x = wave_obs / line
        tau = np.where(x < 2.2, low * x**1.2, np.where(x < 5.7, middle * x**3.7, high * x**5.5))
        forest += np.where(x < 1.0 + z[:, None], tau, 0.0)
    offset = wave_obs / (LYA_WAVE * (1.0 + z[:, None])) - 1.0
    neutral = expit((z - 7.3) / 0.6)[:, None]
    gunn_peterson = 7.16e5 * ((1.0 + z[:, None]) / 10.0) ** 1.5 * neutral
    # Blueward of Lyα the forest describes the intergalactic medium; the wing applies to the red side.
    wing = np.where(offset > 0, gunn_peterson * 2.02e-8 / np.pi / np.maximum(offset, 1e-3), 0.0)
    # Optical depth N σ in the Lorentz wings of Lyα, with σ = 2.88e-26 cm² / (λ/λα - 1)².
    gas = 10.0 ** galaxies.log_n_hi[:, None] * 2.88e-26 / np.maximum(offset**2, 1e-6)
    depth = forest * np.exp(galaxies.igm_scatter)[:, None] + wing + gas
    beyond = wave_obs < LYMAN_LIMIT * (1.0 + z[:, None])
    return np.where(beyond, 0.0, np.exp(-np.minimum(depth, 100.0)))


def brown_dwarf_flux(wave: Floats) -> Floats:
    """Return f_ν of a cool dwarf, with peaks near 1 between the bands of water and methane.

    Parameters
    ----------
    wave : ndarray of shape (n_wave,)
        Observed wavelength [um].
    """
    windows = ((1.07, 0.05, 0.6), (1.27, 0.05, 0.9), (1.58, 0.06, 0.7), (2.1, 0.09, 0.4))
    windows += ((4.1, 0.25, 1.0), (4.7, 0.3, 0.6))
    return np.sum([h * np.exp(-0.5 * ((wave - c) / w) ** 2) for c, w, h in windows], axis=0)
