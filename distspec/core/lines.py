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
LINE_LISTS: Mapping[str, Mapping[str, float]] = {
    "hydrogen": {
        "Lyγ": 972.54,
        "Lyβ": 1025.72,
        "Lyα": 1215.67,
        "Hε": 3971.20,
        "Hδ": 4102.89,
        "Hγ": 4341.68,
        "Hβ": 4862.68,
        "Hα": 6564.61,
        "Paδ": 10052.1,
        "Paγ": 10941.1,
        "Paβ": 12821.6,
        "Paα": 18756.1,
        "Brγ": 21661.2,
    },
    "emission of galaxies": GALAXY_LINES,
    "interstellar absorption": {
        "Si II 1260": 1260.42,
        "O I 1302": 1302.17,
        "C II 1335": 1334.53,
        "Si IV 1394": 1393.76,
        "Si IV 1403": 1402.77,
        "Si II 1527": 1526.71,
        "Fe II 1608": 1608.45,
        "Al II 1671": 1670.79,
        "Al III 1855": 1854.72,
        "Al III 1863": 1862.79,
        "Fe II 2344": 2344.21,
        "Fe II 2374": 2374.46,
        "Fe II 2383": 2382.76,
        "Fe II 2587": 2586.65,
        "Fe II 2600": 2600.17,
        "Mg II 2796": 2796.35,
        "Mg II 2804": 2803.53,
        "Mg I 2853": 2852.96,
        "Ca II K": 3934.78,
        "Ca II H": 3969.59,
        "Na I D": 5895.6,
    },
    "stellar absorption": {
        "Ca II K": 3934.78,
        "Ca II H": 3969.59,
        "G band": 4305.61,
        "Mg b": 5176.63,
        "Na I D": 5895.6,
        "Ca II 8500": 8500.36,
        "Ca II 8544": 8544.44,
        "Ca II 8664": 8664.52,
    },
    "ultracool dwarfs": STAR_FEATURES,
}
"""Lists of features to compare a spectrum with: rest-frame vacuum wavelength [Angstrom].

Ultraviolet resonance lines are from Morton 2003, ApJS 149, 205, hydrogen from the NIST Atomic Spectra
Database, features of stars from the list of the SDSS pipeline.
"""
