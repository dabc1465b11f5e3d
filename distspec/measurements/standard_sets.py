"""Measurements of galaxies with JWST/NIRSpec's prism, of optical galaxy spectra and of ultracool dwarfs.

They were chosen for the resolution of each instrument, before any clustering was scored with them.
"""

from __future__ import annotations

from functools import partial

from distspec.core.instruments import (
    DESI_SPECTROGRAPH,
    NIRSPEC_PRISM,
    SDSS_SPECTROGRAPH,
    SPEX_PRISM,
    UNKNOWN_INSTRUMENT,
    Disperser,
)
from distspec.core.lines import GALAXY_LINES
from distspec.measurements.continuum import fit_power_law, measure_min_window_snr, measure_slope_difference
from distspec.measurements.definitions import (
    Measurement,
    MeasurementSet,
    define_equivalent_width,
    define_flux_ratio,
    define_slope,
)
from distspec.measurements.indices import F_LAMBDA, F_NU, Window
from distspec.measurements.line_width import FIT_HALF_WIDTH, measure_line_width
from distspec.measurements.lya import CONTINUUM_WINDOWS, LYA_WINDOW, measure_lya_ew

UV_CONTINUUM_WINDOWS: tuple[Window, ...] = (
    (1342.0, 1371.0), (1407.0, 1515.0), (1720.0, 1840.0), (1970.0, 2200.0), (2200.0, 2450.0),
    (2450.0, 2750.0), (2860.0, 3230.0), (3230.0, 3640.0),
)  # fmt: skip
OPTICAL_CONTINUUM_WINDOWS: tuple[Window, ...] = (
    (4005.0, 4065.0), (4150.0, 4280.0), (4410.0, 4780.0), (5110.0, 5450.0), (5450.0, 5790.0),
    (5970.0, 6240.0),
)  # fmt: skip
"""Continuum windows that stay one resolution element clear of the strong lines of `distspec.core.lines`."""

LYA_EW = Measurement(
    "lya_ew",
    "Angstrom",
    "net rest equivalent width of Lya, emission positive: line flux over a fitted power-law continuum, with "
    "the forest's mean transmission after Becker et al. 2013",
    partial(measure_lya_ew, disperser=NIRSPEC_PRISM),
    scale=25.0,
    feature_source="spectrum",
    needs=(LYA_WINDOW, *CONTINUUM_WINDOWS),
    error_description="1 sigma uncertainty of lya_ew, that of the continuum included",
    value_names=("weak Lyα", "strong Lyα"),
)
# The transmission of the intergalactic medium follows from the redshift, so it is no feature of a class.
LYMAN_BREAK = define_flux_ratio(
    "lyman_break", "flux ratio across Lya",
    (1120.0, 1190.0), (1290.0, 1370.0), F_NU, NIRSPEC_PRISM,
    center=0.0, scale=0.3, feature_source="",
)  # fmt: skip


def _define_broad_set(disperser: Disperser) -> tuple[Measurement, ...]:
    """Return slopes, the Balmer break and lines of galaxies in windows that the prism resolves."""
    # Of the ten windows of Calzetti et al., those that the prism separates from C IV, He II + O III]
    # and C III].
    uv_slope = define_slope(
        "uv_slope", "1342-2580 Angstrom",
        ((1342.0, 1371.0), (1407.0, 1515.0), (1760.0, 1833.0), (2400.0, 2580.0)), disperser, 0.5,
        "windows of Calzetti et al. 1994, ApJ 429, 582", ("blue UV continuum", "red UV continuum"),
    )  # fmt: skip
    # Windows closer to the break would be contaminated by [O II] and Hdelta, which the prism blurs.
    balmer_break = define_flux_ratio(
        "balmer_break", "Balmer break", (4150.0, 4250.0), (3400.0, 3600.0), F_NU, disperser,
        center=1.0, scale=0.3,
        reference="Binggeli et al. 2019, MNRAS 489, 3827; Vikaeus et al. 2024, MNRAS 529, 1299",
        value_names=("weak Balmer break", "strong Balmer break"),
    )  # fmt: skip
    # Redward of the break, one resolution element clear of the lines of `distspec.core.lines`.
    optical_slope = define_slope(
        "optical_slope", "4150-6250 Angstrom",
        ((4150.0, 4250.0), (5150.0, 5800.0), (6000.0, 6250.0)), disperser, 1.0,
        "selects Little Red Dots: Kocevski et al. 2025, ApJ 986, 126; Setton et al. 2024, arXiv:2411.03424",
        ("blue optical continuum", "red optical continuum"),
    )  # fmt: skip
    # Line windows are as wide as the prism makes lines: at z = 5, 60 Angstrom FWHM at 1908 and 35 at 6565.
    # Below z = 4 up to a tenth of [O III] 4960 falls into the window of Hbeta, and the reverse.
    lines = (
        define_equivalent_width(
            "ciii_ew", "C III] 1908", ((1740.0, 1830.0), (1840.0, 1975.0), (1985.0, 2100.0)), disperser, 5.0,
            value_names=("weak C III]", "strong C III]"),
        ),
        define_equivalent_width(
            "oii_ew", "[O II] 3728", ((3540.0, 3650.0), (3665.0, 3795.0), (4010.0, 4065.0)), disperser, 10.0,
            value_names=("weak [O II]", "strong [O II]"),
        ),
        define_equivalent_width(
            "hbeta_ew", "Hbeta", ((4550.0, 4770.0), (4790.0, 4911.0), (5120.0, 5350.0)), disperser, 10.0,
            value_names=("weak Hβ", "strong Hβ"),
        ),
        define_equivalent_width(
            "oiii_ew", "[O III] 4960 and 5008",
            ((4550.0, 4770.0), (4911.0, 5085.0), (5120.0, 5350.0)), disperser, 20.0,
            value_names=("weak [O III]", "strong [O III]"),
        ),
        define_equivalent_width(
            "halpha_ew", "Halpha with [N II]",
            ((6100.0, 6250.0), (6455.0, 6660.0), (6800.0, 6960.0)), disperser, 20.0,
            value_names=("weak Hα", "strong Hα"),
        ),
    )  # fmt: skip
    return (uv_slope, balmer_break, optical_slope, *lines)


_PRISM_BROAD_SET = _define_broad_set(NIRSPEC_PRISM)
_POSTERIOR_SLOPE = "beta of f_lambda ~ lambda^beta, posterior mean over line-free windows of"
_V_SHAPE_REFERENCE = "Setton et al. 2024, arXiv:2411.03424; Hviding et al. 2025, A&A 702, A57"
# The following are used only by the rules for galaxy types.
_PRISM_GALAXY_TYPE_MEASUREMENTS = (
    # Beyond z = 7 the continuum redward of Halpha leaves the prism's range before the line does.
    define_equivalent_width(
        "halpha_blue_ew", "Halpha with [N II] over the extrapolated blueward continuum",
        ((5110.0, 5790.0), (6455.0, 6660.0), (5970.0, 6240.0)), NIRSPEC_PRISM, 20.0, "",
    ),
    # The prism blends the two lines at z < 12.
    define_equivalent_width(
        "heii_ew", "He II 1640 with O III] 1664",
        ((1430.0, 1505.0), (1600.0, 1710.0), (1720.0, 1830.0)), NIRSPEC_PRISM, 5.0, "",
    ),
    define_equivalent_width(
        "nev_ew", "[Ne V] 3427",
        ((3250.0, 3370.0), (3385.0, 3470.0), (3485.0, 3600.0)), NIRSPEC_PRISM, 5.0, "",
    ),
    # Power laws on both sides of the Balmer limit, where the V-shaped continua of Little Red Dots turn.
    Measurement(
        "beta_uv", "", f"{_POSTERIOR_SLOPE} 1342-3640 Angstrom",
        partial(fit_power_law, windows=UV_CONTINUUM_WINDOWS, disperser=NIRSPEC_PRISM), 0.5, -2.0, "",
        UV_CONTINUUM_WINDOWS, _V_SHAPE_REFERENCE,
    ),
    Measurement(
        "beta_opt", "", f"{_POSTERIOR_SLOPE} 4005-6240 Angstrom",
        partial(fit_power_law, windows=OPTICAL_CONTINUUM_WINDOWS, disperser=NIRSPEC_PRISM), 1.0, -2.0, "",
        OPTICAL_CONTINUUM_WINDOWS, _V_SHAPE_REFERENCE,
    ),
    Measurement(
        "v_shape", "", "difference beta_opt - beta_uv",
        partial(
            measure_slope_difference, red_windows=OPTICAL_CONTINUUM_WINDOWS,
            blue_windows=UV_CONTINUUM_WINDOWS, disperser=NIRSPEC_PRISM,
        ),
        1.0, 0.0, "", (*UV_CONTINUUM_WINDOWS, *OPTICAL_CONTINUUM_WINDOWS), _V_SHAPE_REFERENCE,
    ),
    Measurement(
        "halpha_fwhm", "km s-1",
        "FWHM of Halpha with [N II] after subtraction of the instrument's variance: Gaussian fit; lines of "
        "10 sigma or more, where the instrument's FWHM is below 2000 km/s. [N II] of 0.3, 0.6 or 1 times "
        "the flux of a narrow Halpha gives 900, 1200 or 1450 km/s",
        partial(measure_line_width, line_wave=GALAXY_LINES["Hα"], disperser=NIRSPEC_PRISM), 1000.0, 0.0, "",
        ((GALAXY_LINES["Hα"] * (1.0 - FIT_HALF_WIDTH), GALAXY_LINES["Hα"] * (1.0 + FIT_HALF_WIDTH)),),
    ),
    Measurement(
        "lowest_snr", "",
        "lowest signal-to-noise ratio of the mean fluxes in the windows of beta_uv and beta_opt",
        partial(
            measure_min_window_snr, windows=(*UV_CONTINUUM_WINDOWS, *OPTICAL_CONTINUUM_WINDOWS),
            disperser=NIRSPEC_PRISM,
        ),
        1.0, 0.0, "", (*UV_CONTINUUM_WINDOWS, *OPTICAL_CONTINUUM_WINDOWS),
    ),
)  # fmt: skip
NIRSPEC_PRISM_MEASUREMENTS = MeasurementSet(
    (
        LYA_EW, LYMAN_BREAK, *_PRISM_BROAD_SET, *_PRISM_GALAXY_TYPE_MEASUREMENTS,
    ),
    reference_redshift=5.0,
)  # fmt: skip


BROAD_MEASUREMENTS = MeasurementSet(_define_broad_set(UNKNOWN_INSTRUMENT))
"""Measurements of galaxies of any redshift and instrument with a resolving power of 100 or more."""


def _define_optical_set(disperser: Disperser) -> MeasurementSet:
    """Return the measurements of optical galaxy spectra with a resolving power of about 2000."""
    measurements = (
        define_flux_ratio(
            "d4000n", "narrow 4000 Angstrom break", (4001.1, 4101.2), (3851.1, 3951.1), F_NU, disperser,
            center=1.3, scale=0.2, reference="Balogh et al. 1999, ApJ 527, 54",
            value_names=("weak 4000 Å break", "strong 4000 Å break"),
        ),
        define_equivalent_width(
            "oii_ew", "[O II] 3728", ((3654.0, 3714.1), (3714.1, 3742.1), (3742.1, 3802.1)), disperser, 5.0,
            reference="Balogh et al. 1999, ApJ 527, 54", value_names=("weak [O II]", "strong [O II]"),
        ),
        define_equivalent_width(
            "hdelta_a_ew", "Hdelta (A)", ((4042.7, 4082.6), (4084.7, 4123.4), (4129.7, 4162.2)), disperser,
            2.0,
            reference="-1 times the index of Worthey & Ottaviani 1997, ApJS 111, 377",
            value_names=("strong Hδ absorption", "weak Hδ absorption"),
        ),
        define_equivalent_width(
            "hbeta_ew", "Hbeta", ((4829.2, 4849.2), (4849.2, 4878.0), (4878.0, 4893.0)), disperser, 2.0,
            reference="-1 times the index of Worthey et al. 1994, ApJS 94, 687",
            value_names=("weak Hβ", "strong Hβ"),
        ),
        define_equivalent_width(
            "oiii5008_ew", "[O III] 5008",
            ((4975.0, 4995.0), (4998.2, 5018.2), (5021.0, 5041.0)), disperser, 5.0,
            value_names=("weak [O III]", "strong [O III]"),
        ),
        define_equivalent_width(
            "halpha_ew", "Halpha with [N II]",
            ((6480.0, 6530.0), (6540.0, 6595.0), (6605.0, 6660.0)), disperser, 5.0,
            value_names=("weak Hα", "strong Hα"),
        ),
    )  # fmt: skip
    return MeasurementSet(measurements, reference_redshift=0.1)


SDSS_MEASUREMENTS = _define_optical_set(SDSS_SPECTROGRAPH)
DESI_MEASUREMENTS = _define_optical_set(DESI_SPECTROGRAPH)


def _define_ultracool_index(
    name: str, description: str, numerator: Window, denominator: Window, value_names: tuple[str, str]
) -> Measurement:
    return define_flux_ratio(
        name,
        description,
        numerator,
        denominator,
        F_LAMBDA,
        SPEX_PRISM,
        center=0.5,
        scale=0.5,
        reference="Burgasser et al. 2006, ApJ 637, 1067, table 5",
        value_names=value_names,
    )


def _define_absorption_index(
    name: str, molecule: str, band: str, numerator: Window, denominator: Window
) -> Measurement:
    """Define the flux inside of a molecular band over that beside it, which absorption makes low."""
    formula = molecule.translate(str.maketrans("24", "₂₄"))
    value_names = f"strong {formula} in {band}", f"weak {formula} in {band}"
    return _define_ultracool_index(name, f"{molecule} in {band}", numerator, denominator, value_names)


SPEX_MEASUREMENTS = MeasurementSet(
    (
        _define_absorption_index("h2o_j", "H2O", "J", (11400.0, 11650.0), (12600.0, 12850.0)),
        _define_absorption_index("ch4_j", "CH4", "J", (13150.0, 13400.0), (12600.0, 12850.0)),
        _define_absorption_index("h2o_h", "H2O", "H", (14800.0, 15200.0), (15600.0, 16000.0)),
        _define_absorption_index("ch4_h", "CH4", "H", (16350.0, 16750.0), (15600.0, 16000.0)),
        _define_absorption_index("h2o_k", "H2O", "K", (19750.0, 19950.0), (20800.0, 21000.0)),
        _define_absorption_index("ch4_k", "CH4", "K", (22150.0, 22550.0), (20800.0, 21200.0)),
        _define_ultracool_index(
            "k_j", "K over J", (20600.0, 21000.0), (12500.0, 12900.0), ("blue J − K", "red J − K")
        ),
    ),
    reference_redshift=0.0,
)
