"""Which physical measures are taken in each kind of archive, with the papers that their windows are from.

They are few and fixed: chosen for what the instrument resolves, before anything was scored with them. A new
one is a line here. Windows are rest-frame, in vacuum; those published in air were shifted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from distspec.core.instruments import (
    DESI_SPECTROGRAPH,
    NIRSPEC_PRISM,
    SDSS_SPECTROGRAPH,
    SPEX_PRISM,
    Disperser,
)
from distspec.core.lines import GALAXY_LINES
from distspec.core.schema import Column
from distspec.core.spectrum import Floats, Floats32, WavelengthGrid
from distspec.measurements.continuum import fit_power_law, measure_min_window_snr, measure_slope_difference
from distspec.measurements.indices import (
    F_LAMBDA,
    F_NU,
    Spectra,
    Window,
    fit_slope,
    measure_flux_ratio,
    measure_line,
)
from distspec.measurements.line_width import measure_line_width
from distspec.measurements.lya import measure_lya_ew


@dataclass(frozen=True)
class MeasurementDefinition:
    """A number that a function reads off each spectrum, with its error.

    Attributes
    ----------
    value_column, error_column : what they are
    scale : float
        A difference that is much, in its unit.
    measure : callable
        Flux, ivar (N, L), z (N,) and their grid to a mapping of both names to (N,) float32, NaN where not
        covered. A row's numbers depend on that row alone.
    center : float
        What is ordinary, in its unit.
    feature_source : {"reconstruction", "spectrum", ""}
        Where classes take it from: a model's noise-free reconstruction, the spectrum itself where the model
        does not see it, or nowhere.
    """

    value_column: Column
    error_column: Column
    scale: float
    measure: Callable[[Floats32, Floats32, Floats, WavelengthGrid], Mapping[str, Floats32]]
    center: float = 0.0
    feature_source: Literal["reconstruction", "spectrum", ""] = "reconstruction"
    snr_column: Column | None = None

    @property
    def columns(self) -> tuple[Column, ...]:
        """All that it says of a spectrum."""
        return (self.value_column, self.error_column, *([self.snr_column] if self.snr_column else []))


def _define_measurement(
    name: str,
    unit: str,
    description: str,
    function: Any,
    center: float,
    scale: float,
    feature_source: Any = "reconstruction",
) -> MeasurementDefinition:
    """Return a measure of a function of `distspec.measurements.indices`, whose windows and detector are set."""
    value = Column(name, pa.float32(), unit, f"{description}; null where not covered")
    error = Column(f"{name}_err", pa.float32(), unit, f"1 sigma uncertainty of {name}")
    return MeasurementDefinition(
        value, error, scale, _make_measure((value, error), function), center, feature_source
    )


def _make_measure(columns: Sequence[Column], function: Any) -> Callable[..., dict[str, Floats32]]:
    """Return what reads the columns off spectra, given a function that returns them in order."""

    def of(flux: Floats32, ivar: Floats32, z: Floats, grid: WavelengthGrid) -> dict[str, Floats32]:
        found = function(Spectra(flux, ivar, z, grid))
        return {column.name: part.astype(np.float32) for column, part in zip(columns, found, strict=True)}

    return of


def _snr_column(name: str) -> Column:
    return Column(name.replace("_ew", "_snr"), pa.float32(), "", f"flux of the line of {name} over its noise")


def _define_slope(
    name: str, description: str, windows: tuple[Window, ...], disperser: Disperser, scale: float
) -> MeasurementDefinition:
    by = partial(fit_slope, windows=windows, disperser=disperser)
    return _define_measurement(name, "", f"beta of f_lambda ~ lambda^beta, {description}", by, -2.0, scale)


def _define_flux_ratio(
    name: str,
    description: str,
    numerator: Window,
    denominator: Window,
    wave_power: int,
    disperser: Disperser,
    **kwargs: Any,
) -> MeasurementDefinition:
    by = partial(
        measure_flux_ratio,
        numerator=numerator,
        denominator=denominator,
        wave_power=wave_power,
        disperser=disperser,
    )
    kind = "f_nu" if wave_power == F_NU else "f_lambda"
    spans = "{:.0f}-{:.0f} over {:.0f}-{:.0f} Angstrom".format(*numerator, *denominator)
    return _define_measurement(name, "", f"{description}: mean {kind} of {spans}", by, **kwargs)


def _define_equivalent_width(
    name: str,
    description: str,
    windows: tuple[Window, Window, Window],
    disperser: Disperser,
    scale: float,
    feature_source: Any = "reconstruction",
) -> MeasurementDefinition:
    by = partial(
        measure_line,
        blue_window=windows[0],
        line_window=windows[1],
        red_window=windows[2],
        disperser=disperser,
    )
    description = f"rest equivalent width of {description}, emission positive"
    plain = _define_measurement(name, "Angstrom", description, by, 0.0, scale, feature_source)
    sure = _snr_column(name)
    return replace(
        plain, measure=_make_measure((plain.value_column, plain.error_column, sure), by), snr_column=sure
    )


LYA_EW = MeasurementDefinition(
    Column(
        "lya_ew",
        pa.float32(),
        "Angstrom",
        "net rest equivalent width of Lya, emission positive; null where not covered",
    ),
    Column("lya_ew_err", pa.float32(), "Angstrom", "1 sigma uncertainty of lya_ew, continuum included"),
    25.0,
    partial(measure_lya_ew, disperser=NIRSPEC_PRISM),
    feature_source="spectrum",
)
"""Its width is its flux over a fitted continuum, so that its width over its error says how sure it is."""
UV_CONTINUUM_WINDOWS = (
    (1342.0, 1371.0), (1407.0, 1515.0), (1720.0, 1840.0), (1970.0, 2200.0), (2200.0, 2450.0),
    (2450.0, 2750.0), (2860.0, 3230.0), (3230.0, 3640.0),
)  # fmt: skip
OPTICAL_CONTINUUM_WINDOWS = (
    (4005.0, 4065.0), (4150.0, 4280.0), (4410.0, 4780.0), (5110.0, 5450.0), (5450.0, 5790.0),
    (5970.0, 6240.0),
)  # fmt: skip
"""Windows of the continuum between strong lines: a resolution element clear of those of `distspec.core.lines`."""
NIRSPEC_PRISM_MEASUREMENTS = (
    LYA_EW,
    # What the intergalactic medium lets through tells the redshift: of no class.
    _define_flux_ratio(
        "lyman_break", "light that is left below Lya",
        (1120.0, 1190.0), (1290.0, 1370.0), F_NU, NIRSPEC_PRISM, center=0.0, scale=0.3, feature_source="",
    ),
    # Of the ten windows of Calzetti, Kinney & Storchi-Bergmann 1994 (ApJ 429, 582), those that the prism
    # keeps apart from C IV, He II + O III] and C III].
    _define_slope(
        "uv_slope", "1342-2580 Angstrom",
        ((1342.0, 1371.0), (1407.0, 1515.0), (1760.0, 1833.0), (2400.0, 2580.0)), NIRSPEC_PRISM, 0.5,
    ),
    # At 4200 and 3500 Å as Binggeli et al. 2019 (MNRAS 489, 3827) and Vikaeus et al. 2024 (MNRAS 529,
    # 1299): further from [O II] and Hδ, as the prism blurs them, than windows closer to the break.
    _define_flux_ratio(
        "balmer_break", "Balmer break",
        (4150.0, 4250.0), (3400.0, 3600.0), F_NU, NIRSPEC_PRISM, center=1.0, scale=0.3,
    ),
    # Redward of the break and a resolution element clear of the lines of `distspec.core.lines`: the slope by
    # which Little Red Dots are told (Kocevski et al. 2025, ApJ 986, 126; Setton et al. 2024).
    _define_slope(
        "optical_slope", "4150-6250 Angstrom",
        ((4150.0, 4250.0), (5150.0, 5800.0), (6000.0, 6250.0)), NIRSPEC_PRISM, 1.0,
    ),
    # Lines by sums, as wide as the prism (FWHM 60 Å at 1908 Å, 47 Å at 5008 Å, 35 Å at 6565 Å, at z = 5)
    # leaves them. Below z = 4 up to a tenth of [O III] 4959 falls into Hβ's window, and the other way round.
    _define_equivalent_width(
        "ciii_ew", "C III] 1908",
        ((1740.0, 1830.0), (1840.0, 1975.0), (1985.0, 2100.0)), NIRSPEC_PRISM, 5.0,
    ),
    _define_equivalent_width(
        "oii_ew", "[O II] 3728",
        ((3540.0, 3650.0), (3665.0, 3795.0), (4010.0, 4065.0)), NIRSPEC_PRISM, 10.0,
    ),
    _define_equivalent_width(
        "hbeta_ew", "Hbeta",
        ((4550.0, 4770.0), (4790.0, 4911.0), (5120.0, 5350.0)), NIRSPEC_PRISM, 10.0,
    ),
    _define_equivalent_width(
        "oiii_ew", "[O III] 4960 and 5008",
        ((4550.0, 4770.0), (4911.0, 5085.0), (5120.0, 5350.0)), NIRSPEC_PRISM, 20.0,
    ),
    _define_equivalent_width(
        "halpha_ew", "Halpha with [N II]",
        ((6100.0, 6250.0), (6455.0, 6660.0), (6800.0, 6960.0)), NIRSPEC_PRISM, 20.0,
    ),
    # From here on, for names of kinds (`distspec.measurements.galaxy_types`) alone.
    # Beyond z = 7 the continuum redward of Hα is out of the prism's range before the line is.
    _define_equivalent_width(
        "halpha_blue_ew", "Halpha with [N II] over the continuum blueward, extended",
        ((5110.0, 5790.0), (6455.0, 6660.0), (5970.0, 6240.0)), NIRSPEC_PRISM, 20.0, "",
    ),
    # The prism blends them at z < 12.
    _define_equivalent_width(
        "heii_ew", "He II 1640 with O III] 1664",
        ((1430.0, 1505.0), (1600.0, 1710.0), (1720.0, 1830.0)), NIRSPEC_PRISM, 5.0, "",
    ),
    # What the V of Little Red Dots is told by: power laws on both sides of the Balmer limit, where it turns
    # (Setton et al. 2024, arXiv 2411.03424), clear of lines as the prism blurs them (Hviding et al. 2025,
    # A&A 702, A57).
    _define_measurement(
        "beta_uv", "", "beta of f_lambda ~ lambda^beta over all that is free of lines, 1342-3640 Angstrom",
        partial(fit_power_law, windows=UV_CONTINUUM_WINDOWS, disperser=NIRSPEC_PRISM), -2.0, 0.5, "",
    ),
    _define_measurement(
        "beta_opt", "", "beta of f_lambda ~ lambda^beta over all that is free of lines, 4005-6240 Angstrom",
        partial(fit_power_law, windows=OPTICAL_CONTINUUM_WINDOWS, disperser=NIRSPEC_PRISM), -2.0, 1.0, "",
    ),
    _define_measurement(
        "v_shape", "", "beta_opt - beta_uv",
        partial(measure_slope_difference, red_windows=OPTICAL_CONTINUUM_WINDOWS, blue_windows=UV_CONTINUUM_WINDOWS, disperser=NIRSPEC_PRISM), 0.0, 1.0, "",
    ),
    _define_measurement(
        "halpha_fwhm", "km s-1",
        "FWHM of Halpha with [N II] beyond the instrument's, of 10 sigma at least",
        partial(measure_line_width, line_wave=GALAXY_LINES["Hα"], disperser=NIRSPEC_PRISM), 0.0, 1000.0, "",
    ),
    _define_measurement(
        "lowest_snr", "", "least mean flux of the windows of beta_uv and beta_opt in units of its noise",
        partial(measure_min_window_snr, windows=(*UV_CONTINUUM_WINDOWS, *OPTICAL_CONTINUUM_WINDOWS), disperser=NIRSPEC_PRISM), 0.0, 1.0, "",
    ),
)  # fmt: skip


def _define_optical_measurements(disperser: Disperser) -> tuple[MeasurementDefinition, ...]:
    """Return the measures of optical spectra of R ≈ 2000."""
    return (
        # Balogh et al. 1999, ApJ 527, 54: both.
        _define_flux_ratio(
            "d4000n", "4000 Angstrom break, narrow",
            (4001.1, 4101.2), (3851.1, 3951.1), F_NU, disperser, center=1.3, scale=0.2,
        ),
        _define_equivalent_width(
            "oii_ew", "[O II] 3728",
            ((3654.0, 3714.1), (3714.1, 3742.1), (3742.1, 3802.1)), disperser, 5.0,
        ),
        # Worthey & Ottaviani 1997, ApJS 111, 377; with the sign of the others: −1 times theirs.
        _define_equivalent_width(
            "hdelta_a_ew", "Hdelta (A)",
            ((4042.7, 4082.6), (4084.7, 4123.4), (4129.7, 4162.2)), disperser, 2.0,
        ),
        # Worthey et al. 1994, ApJS 94, 687.
        _define_equivalent_width("hbeta_ew", "Hbeta", ((4829.2, 4849.2), (4849.2, 4878.0), (4878.0, 4893.0)), disperser, 2.0),
        _define_equivalent_width(
            "oiii5008_ew", "[O III] 5008",
            ((4975.0, 4995.0), (4998.2, 5018.2), (5021.0, 5041.0)), disperser, 5.0,
        ),
        _define_equivalent_width(
            "halpha_ew", "Halpha with [N II]",
            ((6480.0, 6530.0), (6540.0, 6595.0), (6605.0, 6660.0)), disperser, 5.0,
        ),
    )  # fmt: skip


def _define_ultracool_index(
    name: str, description: str, numerator: Window, denominator: Window
) -> MeasurementDefinition:
    return _define_flux_ratio(
        name, description, numerator, denominator, F_LAMBDA, SPEX_PRISM, center=0.5, scale=0.5
    )


ULTRACOOL_MEASUREMENTS = (
    # Burgasser et al. 2006, ApJ 637, 1067, table 5.
    _define_ultracool_index("h2o_j", "H2O in J", (11400.0, 11650.0), (12600.0, 12850.0)),
    _define_ultracool_index("ch4_j", "CH4 in J", (13150.0, 13400.0), (12600.0, 12850.0)),
    _define_ultracool_index("h2o_h", "H2O in H", (14800.0, 15200.0), (15600.0, 16000.0)),
    _define_ultracool_index("ch4_h", "CH4 in H", (16350.0, 16750.0), (15600.0, 16000.0)),
    _define_ultracool_index("h2o_k", "H2O in K", (19750.0, 19950.0), (20800.0, 21000.0)),
    _define_ultracool_index("ch4_k", "CH4 in K", (22150.0, 22550.0), (20800.0, 21200.0)),
    _define_ultracool_index("k_j", "K over J", (20600.0, 21000.0), (12500.0, 12900.0)),
)
MEASUREMENTS: Mapping[str, tuple[MeasurementDefinition, ...]] = {
    "dja": NIRSPEC_PRISM_MEASUREMENTS,
    "jades": NIRSPEC_PRISM_MEASUREMENTS,
    "sdss": _define_optical_measurements(SDSS_SPECTROGRAPH),
    "desi": _define_optical_measurements(DESI_SPECTROGRAPH),
    "spex": ULTRACOOL_MEASUREMENTS,
}
"""What is measured, by kind of archive (`distspec.archives.base.Archive.name`); of others nothing."""
