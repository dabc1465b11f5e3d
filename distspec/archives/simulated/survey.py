"""Plan of a simulated survey: sources, repeats, anomalies, redshifts, names and positions of its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import ndtri

from distspec.archives.simulated.populations import CLASS_COUNTS
from distspec.core.errors import ConfigError
from distspec.core.lines import GALAXY_LINES
from distspec.core.spectrum import Floats

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Strings = NDArray[np.str_]
ANOMALY_TYPES = ("quasar", "brown_dwarf", "wrong_redshift", "blend", "unknown_line")
"""Types of objects that belong to no class."""
PLAN_STREAM = 0
"""Index of the plan's stream of random numbers; those of `distspec.archives.simulated.archive` start at 1."""
_Z_QUANTILES = (0.0, 0.16, 0.5, 0.84, 0.975, 0.996, 1.0), (4.0, 4.38, 5.29, 6.87, 9.0, 11.2, 14.0)
"""Fractions of the sources, and the redshifts below which they are."""
# Exponents of the uniform number: quenched galaxies are slightly nearer, weak-lined blue ones farther.
_Z_EXPONENTS: Mapping[str, float] = {"quenched": 1.25, "high_z_analog": 0.85, "lrd": 0.95}
_SKY_FIELDS = (
    # root, program, right ascension and declination of a corner [deg]
    ("mock-uds", "9001", 34.30, -5.30),
    ("mock-egs", "9002", 214.80, 52.70),
    ("mock-gds", "9003", 53.05, -27.95),
    ("mock-gdn", "9004", 189.10, 62.10),
    ("mock-cosmos", "9005", 150.00, 2.10),
)
_N_POINTINGS = 8


@dataclass(frozen=True)
class SimulationConfig:
    """Contents of a simulated archive."""

    n_spectra: int = 2200
    """Number of files, repeats and twins included."""
    seed: int = 0
    """Seed of all random numbers."""
    repeat_fraction: float = 0.08
    """Fraction of sources that are observed twice."""
    anomaly_fraction: float = 0.01
    """Fraction of sources that belong to no class."""
    defect_fraction: float = 0.02
    """Fraction of files with a serious instrumental defect."""
    low_grade_fraction: float = 0.03
    """Fraction of files with a redshift grade below 3 or, for a third of them, at z < 4."""
    n_twins: int = 0
    """Number of galaxies simulated at each of twin_redshifts, as separate sources in the last files."""
    twin_redshifts: tuple[float, ...] = (4.5, 6.0, 8.0)
    """Redshifts at which twins are simulated."""
    write_2d_spectra: bool = False
    """Also write two-dimensional spectra, which makes files about as large as real ones."""

    def __post_init__(self) -> None:
        for name in ("repeat_fraction", "anomaly_fraction", "defect_fraction", "low_grade_fraction"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ConfigError(
                    f"--simulation.{name.replace('_', '-')} is {getattr(self, name)}: "
                    "give a fraction of at least 0 and below 1"
                )
        if self.seed < 0:
            raise ConfigError(f"--simulation.seed is {self.seed}: give 0 or more")
        if self.n_twins < 0:
            raise ConfigError(f"--simulation.n-twins is {self.n_twins}: give 0 or more")
        if not self.twin_redshifts or not all(0.5 < z < 20.0 for z in self.twin_redshifts):
            raise ConfigError(
                f"--simulation.twin-redshifts is {self.twin_redshifts}: give one or more between 0.5 and 20"
            )
        if self.n_spectra < max(1, self.n_twin_files):
            raise ConfigError(
                f"--simulation.n-spectra is {self.n_spectra}: give at least {max(1, self.n_twin_files)}, "
                "the number of twin files or 1"
            )

    @property
    def n_twin_files(self) -> int:
        """Number of files with twins."""
        return self.n_twins * len(self.twin_redshifts)


@lru_cache(maxsize=2)
def plan_survey(config: SimulationConfig) -> pa.Table:
    """Plan the files of a survey.

    Without twins, a larger survey begins with the files of the smaller one of the same seed.

    Parameters
    ----------
    config : SimulationConfig
        Contents of the survey.

    Returns
    -------
    Table
        One row per file. ``source`` is the index of the source's first file, ``z`` the cataloged redshift
        (null if there is none), ``z_true`` the simulated one, ``population`` the distribution from which the
        galaxy is drawn; ``ra`` and ``dec`` are in degrees, ``exptime`` in seconds. ``truth_class`` is the
        population or the type of anomaly, ``anomaly_type`` also names instrumental defects ("" for none),
        ``twin_id`` is -1 for files that are not twins.
    """
    # Every command imports this module for the settings, and SciPy's splines take long to import.
    from distspec.archives.simulated.nirspec import INSTRUMENT_DEFECTS

    n = config.n_spectra
    # Uniform numbers: one column per file, one row per purpose.
    own = np.random.default_rng([config.seed, PLAN_STREAM]).random((n, 16)).T
    twin = np.maximum(np.arange(n) - (n - config.n_twin_files), -1)  # index among the twin files
    twin_id = np.where(twin >= 0, twin // len(config.twin_redshifts), -1)
    source = _assign_sources(own[0], own[1], config.repeat_fraction, twin >= 0)
    of_source = own[:, source]  # properties of a source use the numbers of its first file
    population, anomaly = _draw_populations(config, of_source, twin, twin_id)
    z_true = _draw_redshifts(config, of_source, population, twin)
    z, grade = _draw_catalog_redshifts(config, own, of_source, z_true, anomaly, twin >= 0)
    z_true = np.where(anomaly == "brown_dwarf", 0.0, z_true)
    defect = np.where(own[8] < config.defect_fraction, _choose_names(tuple(INSTRUMENT_DEFECTS), own[9]), "")
    return pa.table(
        {
            "index": np.arange(n),
            "source": source,
            **_draw_positions(source, own, of_source),
            "exptime": np.round(10.0 ** (3.65 + 0.35 * ndtri(own[10])), 1),
            "z": pa.array(z, from_pandas=True),
            "grade": grade,
            "z_true": z_true,
            "truth_class": np.where(anomaly != "", anomaly, population).tolist(),
            "population": population.tolist(),
            "anomaly_type": np.where(anomaly != "", anomaly, defect).tolist(),
            "twin_id": twin_id,
        }
    )


def _choose_names(names: tuple[str, ...], u: Floats, weights: tuple[int, ...] | None = None) -> Strings:
    """Return a name for each uniform random number."""
    bounds = np.cumsum(weights or (1,) * len(names))
    return np.array(names)[np.searchsorted(bounds[:-1] / bounds[-1], u, side="right")]


def _assign_sources(u_repeat: Floats, u_source: Floats, repeat_fraction: float, is_twin: Bools) -> Ints:
    """Return the index of the first file of each file's source."""
    index = np.arange(len(u_repeat))
    source = index.copy()
    is_repeat = (u_repeat < repeat_fraction / (1.0 + repeat_fraction)) & (index > 0) & ~is_twin
    unrepeated = ~is_repeat  # first files of sources that are not repeated yet
    for i in np.flatnonzero(is_repeat):
        first = int(u_source[i] * i)
        while first >= 0 and not unrepeated[first]:
            first -= 1
        if first >= 0:
            source[i], unrepeated[first] = first, False
    return source


def _draw_populations(
    config: SimulationConfig, u_source: Floats, twin: Ints, twin_id: Ints
) -> tuple[Strings, Strings]:
    """Return the population of each file's source and its type of anomaly ("" for none)."""
    u = u_source[2].copy()
    is_twin = twin >= 0
    u[is_twin] = u[is_twin][
        twin_id[is_twin] * len(config.twin_redshifts)
    ]  # all twins with one twin_id are the same galaxy
    population = _choose_names(tuple(CLASS_COUNTS), u, tuple(CLASS_COUNTS.values()))
    is_anomaly = (u_source[3] < config.anomaly_fraction) & ~is_twin
    anomaly = np.where(is_anomaly, _choose_names(ANOMALY_TYPES, u_source[4]), "")
    return np.where(anomaly == "quasar", "quasar", population), anomaly


def _draw_redshifts(config: SimulationConfig, u_source: Floats, population: Strings, twin: Ints) -> Floats:
    """Return the true redshift of each file's source."""
    from scipy.interpolate import PchipInterpolator

    exponent = np.array([_Z_EXPONENTS.get(name, 1.0) for name in population])
    z = PchipInterpolator(*_Z_QUANTILES)(u_source[5] ** exponent)
    near = u_source[6] < config.low_grade_fraction / 3.0
    z = np.where(near, 1.0 + 2.95 * u_source[5], z)
    twin_z = np.array(config.twin_redshifts)
    return np.where(twin >= 0, twin_z[twin % len(twin_z)], z)


def _draw_catalog_redshifts(
    config: SimulationConfig,
    u_file: Floats,
    u_source: Floats,
    z_true: Floats,
    anomaly_type: Strings,
    is_twin: Bools,
) -> tuple[Floats, NDArray[np.int8]]:
    """Return cataloged redshifts and their grades."""
    # Hα is mistaken for [O III] 5007; at z >= 9, [O III] for Hα, to stay within plausible redshifts.
    ratio = GALAXY_LINES["Hα"] / GALAXY_LINES["[O III] 5007"]
    mistaken = (1.0 + z_true) * np.where(z_true < 9.0, ratio, 1.0 / ratio) - 1.0
    z = np.where(anomaly_type == "wrong_redshift", mistaken, z_true)
    z = z + 0.001 * (1.0 + z) * ndtri(u_file[11])
    low = (
        (u_file[6] < config.low_grade_fraction) & (u_source[6] >= config.low_grade_fraction / 3.0) & ~is_twin
    )
    grade = np.where(low, np.array([2, 1, 0, -1])[(u_file[7] * 4).astype(int)], 3)
    guess = 0.2 + 11.0 * u_source[5]
    z = np.where((grade == 1) | (grade == 0), guess, z)
    return np.where(grade == -1, np.nan, z), grade.astype(np.int8)


def _draw_positions(source: Ints, u_file: Floats, u_source: Floats) -> dict[str, Any]:
    """Return names and positions of files; sources lie on a jittered grid of 3″, so that none coincide."""
    index = np.arange(len(source))
    field, cell = source % len(_SKY_FIELDS), source // len(_SKY_FIELDS)
    ra0, dec0 = (np.array([row[k] for row in _SKY_FIELDS])[field] for k in (2, 3))
    # Positions of repeats differ by a few hundredths of an arcsecond.
    jitter = np.where(source == index, 0.0, 0.1)
    north = 3.0 * (cell // 400) + 1.6 * u_source[12] + jitter * (u_file[12] - 0.5)
    east = 3.0 * (cell % 400) + 1.6 * u_source[13] + jitter * (u_file[13] - 0.5)
    dec = dec0 + north / 3600.0
    # Half of the repeats are observed in another pointing, under another root.
    pointing = (u_source[14] * _N_POINTINGS).astype(int)
    moved = (source != index) & (u_file[15] < 0.5)
    pointing = (pointing + moved) % _N_POINTINGS + 1
    root = [f"{_SKY_FIELDS[f][0]}{p}-v4" for f, p in zip(field, pointing, strict=True)]
    program = [_SKY_FIELDS[f][1] for f in field]
    srcid = [str(1000 + i) for i in index]
    return {
        "file": [f"{r}_prism-clear_{p}_{s}.spec.fits" for r, p, s in zip(root, program, srcid, strict=True)],
        "root": root,
        "program": program,
        "srcid": srcid,
        "ra": np.round(ra0 + east / 3600.0 / np.cos(np.deg2rad(dec)), 7),
        "dec": np.round(dec, 7),
    }
