"""Spectral features by name: rest-frame vacuum wavelengths.

Emission lines are from the NIST Atomic Spectra Database, blends at their mean. Features of ultracool dwarfs
are from Cushing, Rayner & Vacca 2005, ApJ 623, 1115; of molecular bands the onset is given.
"""

from __future__ import annotations

from collections.abc import Mapping

GALAXY_LINES: Mapping[str, float] = {
    "Lyα": 1215.67,
    "N V": 1240.8,
    "C IV": 1549.48,
    "He II": 1640.42,
    "O III]": 1663.5,
    "C III]": 1908.0,
    "Mg II": 2799.1,
    "[O II]": 3728.5,
    "[Ne III]": 3869.86,
    "Hδ": 4102.89,
    "Hγ": 4341.68,
    "Hβ": 4862.68,
    "[O III] 4959": 4960.30,
    "[O III] 5007": 5008.24,
    "He I": 5877.25,
    "[O I]": 6302.05,
    "Hα": 6564.61,
    "[S II]": 6725.5,
    "He I 7065": 7067.14,
}
"""Emission lines of galaxies: rest-frame vacuum wavelength [Angstrom]."""
STAR_FEATURES: Mapping[str, float] = {
    "K I 0.77": 7682.0,
    "Na I 0.82": 8190.0,
    "FeH 0.99": 9896.0,
    "K I 1.18": 11730.0,
    "K I 1.25": 12480.0,
    "H₂O 1.34": 13400.0,
    "FeH 1.58": 15830.0,
    "CH₄ 1.63": 16300.0,
    "H₂O 1.80": 18000.0,
    "Na I 2.21": 22080.0,
    "CH₄ 2.20": 22000.0,
    "CO 2.29": 22935.0,
}
"""Absorption features of ultracool dwarfs: vacuum wavelength [Angstrom]."""
