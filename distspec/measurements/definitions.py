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

from distspec.core.instruments import DESI, PRISM, SDSS, SPEX, Disperser
from distspec.core.lines import GALAXY_LINES
from distspec.core.schema import Column
from distspec.core.spectrum import Floats, Floats32, WaveGrid
from distspec.measurements.continuum import difference, lowest, power_law
from distspec.measurements.indices import F_LAMBDA, F_NU, Spectra, Window, line, ratio, slope
from distspec.measurements.line_width import breadth
from distspec.measurements.lya import lya


@dataclass(frozen=True)
class Measure:
    """A number that a function reads off each spectrum, with its error.

    Attributes
    ----------
    value, error : what they are
    scale : float
        A difference that is much, in its unit.
    of : callable
        Flux, ivar (N, L), z (N,) and their grid to a mapping of both names to (N,) float32, NaN where not
        covered. A row's numbers depend on that row alone.
    zero : float
        What is ordinary, in its unit.
    space : {"reconstruction", "spectrum", ""}
        Where classes take it from: a model's noise-free reconstruction, the spectrum itself where the model
        does not see it, or nowhere.
    """

    value: Column
    error: Column
    scale: float
    of: Callable[[Floats32, Floats32, Floats, WaveGrid], Mapping[str, Floats32]]
    zero: float = 0.0
    space: Literal["reconstruction", "spectrum", ""] = "reconstruction"
    sure: Column | None = None

    @property
    def columns(self) -> tuple[Column, ...]:
        """All that it says of a spectrum."""
        return (self.value, self.error, *([self.sure] if self.sure else []))


def _measure(
    name: str, unit: str, what: str, by: Any, zero: float, scale: float, space: Any = "reconstruction"
) -> Measure:
    """Return a measure of a function of `distspec.measurements.indices`, whose windows and detector are set."""
    value = Column(name, pa.float32(), unit, f"{what}; null where not covered")
    error = Column(f"{name}_err", pa.float32(), unit, f"1 sigma uncertainty of {name}")
    return Measure(value, error, scale, _reading((value, error), by), zero, space)


def _reading(columns: Sequence[Column], by: Any) -> Callable[..., dict[str, Floats32]]:
    """Return what reads the columns off spectra, given a function that returns them in order."""

    def of(flux: Floats32, ivar: Floats32, z: Floats, grid: WaveGrid) -> dict[str, Floats32]:
        found = by(Spectra(flux, ivar, z, grid))
        return {column.name: part.astype(np.float32) for column, part in zip(columns, found, strict=True)}

    return of


def _sure(name: str) -> Column:
    return Column(name.replace("_ew", "_snr"), pa.float32(), "", f"flux of the line of {name} over its noise")


def _slope(name: str, what: str, windows: tuple[Window, ...], detector: Disperser, scale: float) -> Measure:
    by = partial(slope, windows=windows, detector=detector)
    return _measure(name, "", f"beta of f_lambda ~ lambda^beta, {what}", by, -2.0, scale)


def _ratio(
    name: str, what: str, above: Window, below: Window, power: int, detector: Disperser, **rest: Any
) -> Measure:
    by = partial(ratio, above=above, below=below, power=power, detector=detector)
    kind = "f_nu" if power == F_NU else "f_lambda"
    spans = "{:.0f}-{:.0f} over {:.0f}-{:.0f} Angstrom".format(*above, *below)
    return _measure(name, "", f"{what}: mean {kind} of {spans}", by, **rest)


def _width(
    name: str,
    what: str,
    windows: tuple[Window, Window, Window],
    detector: Disperser,
    scale: float,
    space: Any = "reconstruction",
) -> Measure:
    by = partial(line, blue=windows[0], middle=windows[1], red=windows[2], detector=detector)
    what = f"rest equivalent width of {what}, emission positive"
    plain = _measure(name, "Angstrom", what, by, 0.0, scale, space)
    sure = _sure(name)
    return replace(plain, of=_reading((plain.value, plain.error, sure), by), sure=sure)


LYA_EW = Measure(
    Column(
        "lya_ew",
        pa.float32(),
        "Angstrom",
        "net rest equivalent width of Lya, emission positive; null where not covered",
    ),
    Column("lya_ew_err", pa.float32(), "Angstrom", "1 sigma uncertainty of lya_ew, continuum included"),
    25.0,
    partial(lya, disperser=PRISM),
    space="spectrum",
)
"""Its width is its flux over a fitted continuum, so that its width over its error says how sure it is."""
BLUE_OF_BALMER = (
    (1342.0, 1371.0), (1407.0, 1515.0), (1720.0, 1840.0), (1970.0, 2200.0), (2200.0, 2450.0),
    (2450.0, 2750.0), (2860.0, 3230.0), (3230.0, 3640.0),
)  # fmt: skip
RED_OF_BALMER = (
    (4005.0, 4065.0), (4150.0, 4280.0), (4410.0, 4780.0), (5110.0, 5450.0), (5450.0, 5790.0),
    (5970.0, 6240.0),
)  # fmt: skip
"""Windows of the continuum between strong lines: a resolution element clear of those of `distspec.core.lines`."""
PRISM_GALAXIES = (
    LYA_EW,
    # What the intergalactic medium lets through tells the redshift: of no class.
    _ratio(
        "lyman_break", "light that is left below Lya",
        (1120.0, 1190.0), (1290.0, 1370.0), F_NU, PRISM, zero=0.0, scale=0.3, space="",
    ),
    # Of the ten windows of Calzetti, Kinney & Storchi-Bergmann 1994 (ApJ 429, 582), those that the prism
    # keeps apart from C IV, He II + O III] and C III].
    _slope(
        "uv_slope", "1342-2580 Angstrom",
        ((1342.0, 1371.0), (1407.0, 1515.0), (1760.0, 1833.0), (2400.0, 2580.0)), PRISM, 0.5,
    ),
    # At 4200 and 3500 Å as Binggeli et al. 2019 (MNRAS 489, 3827) and Vikaeus et al. 2024 (MNRAS 529,
    # 1299): further from [O II] and Hδ, as the prism blurs them, than windows closer to the break.
    _ratio(
        "balmer_break", "Balmer break",
        (4150.0, 4250.0), (3400.0, 3600.0), F_NU, PRISM, zero=1.0, scale=0.3,
    ),
    # Redward of the break and a resolution element clear of the lines of `distspec.core.lines`: the slope by
    # which Little Red Dots are told (Kocevski et al. 2025, ApJ 986, 126; Setton et al. 2024).
    _slope(
        "optical_slope", "4150-6250 Angstrom",
        ((4150.0, 4250.0), (5150.0, 5800.0), (6000.0, 6250.0)), PRISM, 1.0,
    ),
    # Lines by sums, as wide as the prism (FWHM 60 Å at 1908 Å, 47 Å at 5008 Å, 35 Å at 6565 Å, at z = 5)
    # leaves them. Below z = 4 up to a tenth of [O III] 4959 falls into Hβ's window, and the other way round.
    _width(
        "ciii_ew", "C III] 1908",
        ((1740.0, 1830.0), (1840.0, 1975.0), (1985.0, 2100.0)), PRISM, 5.0,
    ),
    _width(
        "oii_ew", "[O II] 3728",
        ((3540.0, 3650.0), (3665.0, 3795.0), (4010.0, 4065.0)), PRISM, 10.0,
    ),
    _width(
        "hbeta_ew", "Hbeta",
        ((4550.0, 4770.0), (4790.0, 4911.0), (5120.0, 5350.0)), PRISM, 10.0,
    ),
    _width(
        "oiii_ew", "[O III] 4960 and 5008",
        ((4550.0, 4770.0), (4911.0, 5085.0), (5120.0, 5350.0)), PRISM, 20.0,
    ),
    _width(
        "halpha_ew", "Halpha with [N II]",
        ((6100.0, 6250.0), (6455.0, 6660.0), (6800.0, 6960.0)), PRISM, 20.0,
    ),
    # From here on, for names of kinds (`distspec.measurements.galaxy_types`) alone.
    # Beyond z = 7 the continuum redward of Hα is out of the prism's range before the line is.
    _width(
        "halpha_blue_ew", "Halpha with [N II] over the continuum blueward, extended",
        ((5110.0, 5790.0), (6455.0, 6660.0), (5970.0, 6240.0)), PRISM, 20.0, "",
    ),
    # The prism blends them at z < 12.
    _width(
        "heii_ew", "He II 1640 with O III] 1664",
        ((1430.0, 1505.0), (1600.0, 1710.0), (1720.0, 1830.0)), PRISM, 5.0, "",
    ),
    # What the V of Little Red Dots is told by: power laws on both sides of the Balmer limit, where it turns
    # (Setton et al. 2024, arXiv 2411.03424), clear of lines as the prism blurs them (Hviding et al. 2025,
    # A&A 702, A57).
    _measure(
        "beta_uv", "", "beta of f_lambda ~ lambda^beta over all that is free of lines, 1342-3640 Angstrom",
        partial(power_law, windows=BLUE_OF_BALMER, detector=PRISM), -2.0, 0.5, "",
    ),
    _measure(
        "beta_opt", "", "beta of f_lambda ~ lambda^beta over all that is free of lines, 4005-6240 Angstrom",
        partial(power_law, windows=RED_OF_BALMER, detector=PRISM), -2.0, 1.0, "",
    ),
    _measure(
        "v_shape", "", "beta_opt - beta_uv",
        partial(difference, red=RED_OF_BALMER, blue=BLUE_OF_BALMER, detector=PRISM), 0.0, 1.0, "",
    ),
    _measure(
        "halpha_fwhm", "km s-1",
        "FWHM of Halpha with [N II] beyond the instrument's, of 10 sigma at least",
        partial(breadth, wave=GALAXY_LINES["Hα"], detector=PRISM), 0.0, 1000.0, "",
    ),
    _measure(
        "lowest_snr", "", "least mean flux of the windows of beta_uv and beta_opt in units of its noise",
        partial(lowest, windows=(*BLUE_OF_BALMER, *RED_OF_BALMER), detector=PRISM), 0.0, 1.0, "",
    ),
)  # fmt: skip


def _optical(detector: Disperser) -> tuple[Measure, ...]:
    """Return the measures of optical spectra of R ≈ 2000."""
    return (
        # Balogh et al. 1999, ApJ 527, 54: both.
        _ratio(
            "d4000n", "4000 Angstrom break, narrow",
            (4001.1, 4101.2), (3851.1, 3951.1), F_NU, detector, zero=1.3, scale=0.2,
        ),
        _width(
            "oii_ew", "[O II] 3728",
            ((3654.0, 3714.1), (3714.1, 3742.1), (3742.1, 3802.1)), detector, 5.0,
        ),
        # Worthey & Ottaviani 1997, ApJS 111, 377; with the sign of the others: −1 times theirs.
        _width(
            "hdelta_a_ew", "Hdelta (A)",
            ((4042.7, 4082.6), (4084.7, 4123.4), (4129.7, 4162.2)), detector, 2.0,
        ),
        # Worthey et al. 1994, ApJS 94, 687.
        _width("hbeta_ew", "Hbeta", ((4829.2, 4849.2), (4849.2, 4878.0), (4878.0, 4893.0)), detector, 2.0),
        _width(
            "oiii5008_ew", "[O III] 5008",
            ((4975.0, 4995.0), (4998.2, 5018.2), (5021.0, 5041.0)), detector, 5.0,
        ),
        _width(
            "halpha_ew", "Halpha with [N II]",
            ((6480.0, 6530.0), (6540.0, 6595.0), (6605.0, 6660.0)), detector, 5.0,
        ),
    )  # fmt: skip


def _ultracool(name: str, what: str, above: Window, below: Window) -> Measure:
    return _ratio(name, what, above, below, F_LAMBDA, SPEX, zero=0.5, scale=0.5)


STARS = (
    # Burgasser et al. 2006, ApJ 637, 1067, table 5.
    _ultracool("h2o_j", "H2O in J", (11400.0, 11650.0), (12600.0, 12850.0)),
    _ultracool("ch4_j", "CH4 in J", (13150.0, 13400.0), (12600.0, 12850.0)),
    _ultracool("h2o_h", "H2O in H", (14800.0, 15200.0), (15600.0, 16000.0)),
    _ultracool("ch4_h", "CH4 in H", (16350.0, 16750.0), (15600.0, 16000.0)),
    _ultracool("h2o_k", "H2O in K", (19750.0, 19950.0), (20800.0, 21000.0)),
    _ultracool("ch4_k", "CH4 in K", (22150.0, 22550.0), (20800.0, 21200.0)),
    _ultracool("k_j", "K over J", (20600.0, 21000.0), (12500.0, 12900.0)),
)
MEASURES: Mapping[str, tuple[Measure, ...]] = {
    "dja": PRISM_GALAXIES,
    "jades": PRISM_GALAXIES,
    "sdss": _optical(SDSS),
    "desi": _optical(DESI),
    "spex": STARS,
}
"""What is measured, by kind of archive (`distspec.archives.base.Archive.kind`); of others nothing."""
