"""Published criteria for the types of high-redshift galaxies, on the measurements of JWST/NIRSpec's prism."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from distspec.core.spectrum import Floats
from distspec.measurements.criteria import DETECTION_SNR, MeasuredValues
from distspec.measurements.galaxy_types import GalaxyTypeRule

LRD_MAX_BETA_UV, LRD_MIN_BETA_OPT, LRD_MIN_BETA_DIFFERENCE = -0.2, 0.0, 0.5
"""A V-shaped continuum has beta_uv below the first, beta_opt above the second, and their difference above
the third value: Hviding et al. 2025 (A&A 702, A57), who find broad lines in every point source with such a
continuum. For slopes from photometry, Kocevski et al. 2025 (ApJ 986, 126) require beta_uv < -0.37 and
beta_opt > 0."""
LRD_BETA_OPT_PRIOR = (-2.0, 1.5)
"""Mean and standard deviation of beta_opt before its measurement: flat in f_nu, and wide; bright simulated
galaxies have -1.7 +- 0.6. It hardly changes slopes that are well measured."""
AGN_MIN_HALPHA_FWHM = 2000.0
"""FWHM of Hα [km/s] from which on a broad line of an active nucleus is seen with the prism: Greene et al.
2024 (ApJ 964, 39). [N II] as strong as Hα broadens a narrow line to at most 1500 km/s."""
AGN_NEV_SNR = 5.0
"""Signal-to-noise ratio of [Ne V] 3427, whose ionization potential of 97 eV stars do not reach: Cleri et al.
2023 (ApJ 953, 10)."""
QUIESCENT_HALPHA_EW, QUIESCENT_MIN_BALMER_BREAK = 50.0, 1.4
"""A quiescent galaxy has a rest equivalent width of Hα [Angstrom] below the first, and f_nu(4200) /
f_nu(3500) above the second value: Covelo-Paz et al. 2025 (arXiv:2506.22540)."""
EELG_MIN_EW = 750.0
"""Rest equivalent width of [O III] 5008 or of Hα [Angstrom]: Boyett et al. 2024 (MNRAS 535, 1796)."""
LAE_MIN_EW = 25.0
"""Rest equivalent width of Lyα [Angstrom]: Tang et al. 2024 (ApJ 975, 208), as in most work since Stark et
al. 2011."""
HIGH_Z_ANALOG_MAX_BETA_UV = -2.59
"""Mean beta_uv of galaxies at z = 11.5, at the blue limit of stars without dust: Cullen et al. 2024 (MNRAS
531, 997)."""
UNPHYSICAL_SIGMA = 5.0
"""Significance from which on unphysical flux makes a spectrum an artefact."""
OIII_5008_FRACTION = 2.98 / 3.98
"""Fraction of [O III] 5008 in the sum of 4960 and 5008 (Storey & Zeippen 2000, MNRAS 312, 813)."""


def _unphysical_probability(measured: MeasuredValues) -> Floats:
    """Return the probability that flux is negative, or higher blueward than redward of Lyα."""
    lowest, _ = measured["lowest_snr"]
    ratio, error = measured["lyman_break"]
    negative = np.where(np.isnan(lowest), 0.0, ndtr(-UNPHYSICAL_SIGMA - lowest))
    leaking = np.where(np.isnan(ratio), 0.0, ndtr((ratio - 1.0) / error - UNPHYSICAL_SIGMA))
    return 1.0 - (1.0 - negative) * (1.0 - leaking)


def _lrd_probability(measured: MeasuredValues) -> Floats:
    v_shape = measured.prob_v_shape(
        LRD_MAX_BETA_UV, LRD_MIN_BETA_OPT, LRD_MIN_BETA_DIFFERENCE, LRD_BETA_OPT_PRIOR
    )
    return v_shape * measured.prob_above("balmer_ew", QUIESCENT_HALPHA_EW)


def _agn_probability(measured: MeasuredValues) -> Floats:
    """Return the probability of broad Hα or of [Ne V]; a line that is not measured gives no evidence."""
    broad = measured.prob_above("halpha_fwhm", AGN_MIN_HALPHA_FWHM)
    broad = np.where(measured.is_covered("halpha_fwhm"), broad, 0.0)
    nev, nev_error = measured["nev_ew"]
    hard = np.where(measured.is_covered("nev_ew"), ndtr(nev / nev_error - AGN_NEV_SNR), 0.0)
    return 1.0 - (1.0 - broad) * (1.0 - hard)


def _quenched_probability(measured: MeasuredValues) -> Floats:
    balmer_break = measured.prob_above("balmer_break", QUIESCENT_MIN_BALMER_BREAK)
    return balmer_break * measured.prob_below("balmer_ew", QUIESCENT_HALPHA_EW)


def _eelg_probability(measured: MeasuredValues) -> Floats:
    return measured.prob_emission({"oiii_ew": EELG_MIN_EW / OIII_5008_FRACTION, "halpha_ew": EELG_MIN_EW})


def _lae_probability(measured: MeasuredValues) -> Floats:
    return measured.prob_emission({"lya_ew": LAE_MIN_EW})


def _high_z_analog_probability(measured: MeasuredValues) -> Floats:
    return measured.prob_below("beta_uv", HIGH_Z_ANALOG_MAX_BETA_UV)


def _star_forming_probability(measured: MeasuredValues) -> Floats:
    return measured.prob_above("balmer_ew", QUIESCENT_HALPHA_EW)


GALAXY_TYPE_RULES = (
    GalaxyTypeRule(
        "artefact",
        f"flux negative, or higher blueward than redward of Lyα, by more than {UNPHYSICAL_SIGMA:g} σ",
        ("lowest_snr", "lyman_break"),
        _unphysical_probability,
        any_suffices=True,
    ),
    GalaxyTypeRule(
        "LRD",
        f"V shape: β_UV < −{-LRD_MAX_BETA_UV:g}, β_opt > {LRD_MIN_BETA_OPT:g}, "
        f"β_opt − β_UV > {LRD_MIN_BETA_DIFFERENCE:g} (Hviding+25); "
        f"EW(Hα) > {QUIESCENT_HALPHA_EW:g} Å (Covelo-Paz+25)",
        ("beta_uv", "beta_opt", "balmer_ew"),
        _lrd_probability,
        ("halpha_fwhm",),
    ),
    GalaxyTypeRule(
        "AGN",
        f"FWHM(Hα) > {AGN_MIN_HALPHA_FWHM:g} km/s (Greene+24) or "
        f"[Ne V] with S/N > {AGN_NEV_SNR:g} (Cleri+23)",
        ("halpha_fwhm", "nev_ew"),
        _agn_probability,
        any_suffices=True,
    ),
    GalaxyTypeRule(
        "quenched",
        f"Balmer break > {QUIESCENT_MIN_BALMER_BREAK:g}, EW(Hα) < {QUIESCENT_HALPHA_EW:g} Å (Covelo-Paz+25)",
        ("balmer_break", "balmer_ew"),
        _quenched_probability,
    ),
    GalaxyTypeRule(
        "EELG",
        f"EW([O III] 5008) or EW(Hα) > {EELG_MIN_EW:g} Å, S/N > {DETECTION_SNR:g} (Boyett+24)",
        ("oiii_ew", "halpha_ew"),
        _eelg_probability,
        any_suffices=True,
    ),
    GalaxyTypeRule(
        "LAE",
        f"EW(Lyα) > {LAE_MIN_EW:g} Å, S/N > {DETECTION_SNR:g} (Tang+24)",
        ("lya_ew",),
        _lae_probability,
    ),
    GalaxyTypeRule(
        "high-z analog",
        f"β_UV < −{-HIGH_Z_ANALOG_MAX_BETA_UV:g}, the mean at z = 11.5 (Cullen+24)",
        ("beta_uv",),
        _high_z_analog_probability,
    ),
    GalaxyTypeRule(
        "star-forming",
        f"EW(Hα) > {QUIESCENT_HALPHA_EW:g} Å (Covelo-Paz+25)",
        ("balmer_ew",),
        _star_forming_probability,
    ),
)
"""In order of precedence."""
