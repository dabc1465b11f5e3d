"""Which files a made-up survey holds: sources, repeats, oddities, redshifts, names and positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.special import ndtri

from distspec.archives.simulated.nirspec import INSTRUMENT_DEFECTS
from distspec.archives.simulated.populations import CLASS_COUNTS
from distspec.core.lines import GALAXY_LINES
from distspec.core.spectrum import Floats

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Strings = NDArray[np.str_]
ANOMALY_TYPES = ("quasar", "brown_dwarf", "wrong_redshift", "blend", "unknown_line")
"""Kinds of object that belong to no class."""
PLAN_STREAM = 0
"""The plan's stream of random numbers; other modules number theirs from 1."""
_Z_QUANTILES = PchipInterpolator(
    (0.0, 0.16, 0.5, 0.84, 0.975, 0.996, 1.0), (4.0, 4.4, 5.5, 7.1, 9.2, 11.2, 14.0)
)
# Quenched galaxies lie a little nearer, weak-lined blue ones a little farther: u → u^tilt.
_Z_EXPONENTS: Mapping[str, float] = {"quenched": 1.25, "high_z_analog": 0.85, "lrd": 0.95}
_SKY_FIELDS = (
    # root, program, RA and Dec of a corner [deg]
    ("mock-uds", "9001", 34.30, -5.30),
    ("mock-egs", "9002", 214.80, 52.70),
    ("mock-gds", "9003", 53.05, -27.95),
    ("mock-gdn", "9004", 189.10, 62.10),
    ("mock-cosmos", "9005", 150.00, 2.10),
)
_N_POINTINGS = 8


@dataclass(frozen=True)
class SyntheticConfig:
    """What a made-up archive holds."""

    n_spectra: int = 2200
    """Files written, repeats and twins included."""
    seed: int = 0
    """Everything follows from it."""
    repeat_fraction: float = 0.08
    """Sources observed twice, as a share of sources."""
    anomaly_fraction: float = 0.01
    """Sources that belong to no class, as a share of sources."""
    defect_fraction: float = 0.02
    """Files with a serious instrumental defect, as a share of files."""
    low_grade_fraction: float = 0.03
    """Files with a grade below 3, or (a third of them) at z < 4, as a share of files."""
    n_twins: int = 0
    """Galaxies that are put at each of `twin_redshifts`, as so many sources: the last files."""
    twin_redshifts: tuple[float, ...] = (4.5, 6.0, 8.0)
    """Redshifts of each twin."""
    write_2d_spectra: bool = False
    """Write two-dimensional spectra too, so that files weigh about as much as real ones."""

    def __post_init__(self) -> None:
        for name in ("repeat_fraction", "anomaly_fraction", "defect_fraction", "low_grade_fraction"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}: give a share from 0 to below 1")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}: give 0 or more")
        if self.n_twins < 0:
            raise ValueError(f"twins is {self.n_twins}: give 0 or more")
        if not self.twin_redshifts or not all(0.5 < z < 20.0 for z in self.twin_redshifts):
            raise ValueError(f"twin_redshifts is {self.twin_redshifts}: give one or more between 0.5 and 20")
        if self.n_spectra < max(1, self.n_twin_files):
            raise ValueError(
                f"n_spectra is {self.n_spectra}: give at least {max(1, self.n_twin_files)}, "
                "for one file and those of the twins"
            )

    @property
    def n_twin_files(self) -> int:
        """Files that hold twins."""
        return self.n_twins * len(self.twin_redshifts)


@lru_cache(maxsize=2)
def plan_survey(config: SyntheticConfig) -> pa.Table:
    """Decide what each file holds, a row a file.

    Without twins, a larger plan begins with the smaller one of the same seed.

    Returns
    -------
    pa.Table
        ``index, file, source`` (number of the source's first file), ``root, program, srcid, ra, dec``
        [deg], ``exptime`` [s], ``z`` (as catalogued; may be null), ``grade, z_true, truth_class,
        population`` (what it is drawn from), ``anomaly_type, twin_id``.
    """
    n = config.n_spectra
    # One row of numbers a file, one column a purpose.
    own = np.random.default_rng([config.seed, PLAN_STREAM]).random((n, 16)).T
    twin = np.maximum(np.arange(n) - (n - config.n_twin_files), -1)  # number among the twins' files
    twin_id = np.where(twin >= 0, twin // len(config.twin_redshifts), -1)
    source = _assign_sources(own[0], own[1], config.repeat_fraction, twin >= 0)
    of_source = own[:, source]  # what belongs to a source is read from its first file's row
    population, oddity = _draw_populations(config, of_source, twin, twin_id)
    z_true = _draw_redshifts(config, of_source, population, twin)
    z, grade = _draw_catalog_redshifts(config, own, of_source, z_true, oddity, twin >= 0)
    z_true = np.where(oddity == "brown_dwarf", 0.0, z_true)
    artefact = np.where(own[8] < config.defect_fraction, _choose_names(tuple(INSTRUMENT_DEFECTS), own[9]), "")
    return pa.table(
        {
            "index": np.arange(n),
            "source": source,
            **_draw_positions(source, own, of_source),
            "exptime": np.round(10.0 ** (3.95 + 0.25 * ndtri(own[10])), 1),
            "z": pa.array(z, from_pandas=True),
            "grade": grade,
            "z_true": z_true,
            "truth_class": np.where(oddity != "", oddity, population).tolist(),
            "population": population.tolist(),
            "anomaly_type": np.where(oddity != "", oddity, artefact).tolist(),
            "twin_id": twin_id,
        }
    )


def _choose_names(names: tuple[str, ...], u: Floats, weights: tuple[int, ...] | None = None) -> Strings:
    """Choose a name for each uniform number."""
    bounds = np.cumsum(weights or (1,) * len(names))
    return np.array(names)[np.searchsorted(bounds[:-1] / bounds[-1], u, side="right")]


def _assign_sources(u_repeat: Floats, u_source: Floats, repeat_fraction: float, is_twin: Bools) -> Ints:
    """Return the number of the first file that shows each file's source."""
    index = np.arange(len(u_repeat))
    source = index.copy()
    again = (u_repeat < repeat_fraction / (1.0 + repeat_fraction)) & (index > 0) & ~is_twin
    free = ~again  # files that opened a source and have not been repeated
    for i in np.flatnonzero(again):
        first = int(u_source[i] * i)
        while first >= 0 and not free[first]:
            first -= 1
        if first >= 0:
            source[i], free[first] = first, False
    return source


def _draw_populations(
    config: SyntheticConfig, u_source: Floats, twin: Ints, twin_id: Ints
) -> tuple[Strings, Strings]:
    """Return what each source is drawn from, and its kind of oddity ("" for none)."""
    u = u_source[2].copy()
    is_twin = twin >= 0
    u[is_twin] = u[is_twin][twin_id[is_twin] * len(config.twin_redshifts)]  # twins are one galaxy
    population = _choose_names(tuple(CLASS_COUNTS), u, tuple(CLASS_COUNTS.values()))
    odd = (u_source[3] < config.anomaly_fraction) & ~is_twin
    oddity = np.where(odd, _choose_names(ANOMALY_TYPES, u_source[4]), "")
    return np.where(oddity == "quasar", "quasar", population), oddity


def _draw_redshifts(config: SyntheticConfig, u_source: Floats, population: Strings, twin: Ints) -> Floats:
    tilt = np.array([_Z_EXPONENTS.get(name, 1.0) for name in population])
    z = _Z_QUANTILES(u_source[5] ** tilt)
    near = u_source[6] < config.low_grade_fraction / 3.0
    z = np.where(near, 1.0 + 2.95 * u_source[5], z)
    at = np.array(config.twin_redshifts)
    return np.where(twin >= 0, at[twin % len(at)], z)


def _draw_catalog_redshifts(
    config: SyntheticConfig,
    u_file: Floats,
    u_source: Floats,
    z_true: Floats,
    anomaly_type: Strings,
    is_twin: Bools,
) -> tuple[Floats, NDArray[np.int8]]:
    """Return redshifts and grades as a catalogue would give them."""
    # Hα taken for [O III] 5007, or the other way round where that would lead too far.
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
    """Name each file and put its source on the sky: a jittered lattice of 3″, so none coincide."""
    index = np.arange(len(source))
    field, cell = source % len(_SKY_FIELDS), source // len(_SKY_FIELDS)
    ra0, dec0 = (np.array([row[k] for row in _SKY_FIELDS])[field] for k in (2, 3))
    # Another observation's catalogue is off by a few hundredths of an arcsecond.
    wobble = np.where(source == index, 0.0, 0.1)
    north = 3.0 * (cell // 400) + 1.6 * u_source[12] + wobble * (u_file[12] - 0.5)
    east = 3.0 * (cell % 400) + 1.6 * u_source[13] + wobble * (u_file[13] - 0.5)
    dec = dec0 + north / 3600.0
    # Half of the repeats come from another pointing, under another root.
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
