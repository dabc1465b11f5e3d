"""Suggested galaxy types of real spectra of published Little Red Dots, and of a simulated control sample.

    python -m tests.benchmarks.galaxy_types [--seeds N] [--first-seed N] [--spectra N]
        [real | control | windows | speed]

real: a row for each of the 76 real DJA files of grade 3 (`DISTSPEC_TEST_DATA`) with redshift, published
class, whether the Little Red Dot cluster of arXiv 2511.05439 contains it, suggested type, confidence and
reason, and the number of published Little Red Dots at z > 4 with that type and in that cluster. control:
simulated archives of N spectra with defects and anomalies by true class, and the fraction of those that are
not Little Red Dots but get that type. windows: both numbers for other continuum windows, estimators, limits
and priors, on the half of the real files on which the criteria were chosen and on the other half; they were
chosen on archives of seeds 10 to 13. speed: spectra per second on one core.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from distspec.archives.simulated.archive import simulate_survey_flux
from distspec.archives.simulated.survey import SimulationConfig, plan_survey
from distspec.core.instruments import NIRSPEC_PRISM
from distspec.core.spectrum import Floats, Spectrum, SpectrumBatch, WavelengthGrid
from distspec.ingest.read import listing_to_entries, read_archive_spectra
from distspec.io.remote.config import DEFAULT_ACCESS
from distspec.measurements.continuum import fit_power_law
from distspec.measurements.criteria import MeasuredValues
from distspec.measurements.galaxy_type_rules import (
    GALAXY_TYPE_RULES,
    LRD_BETA_OPT_PRIOR,
    LRD_MAX_BETA_UV,
    LRD_MIN_BETA_DIFFERENCE,
    LRD_MIN_BETA_OPT,
    QUIESCENT_HALPHA_EW,
)
from distspec.measurements.galaxy_types import (
    MIN_PROBABILITY,
    UNKNOWN,
    GalaxyTypeSuggestions,
    suggest_galaxy_types,
)
from distspec.measurements.indices import GriddedSpectra, Window
from distspec.measurements.standard_sets import (
    NIRSPEC_PRISM_MEASUREMENTS,
    OPTICAL_CONTINUUM_WINDOWS,
    UV_CONTINUUM_WINDOWS,
)
from distspec.pipeline.recipes import dja
from distspec.preprocessing.rest_frame import preprocess
from tests.benchmarks.real_files import real_config
from tests.benchmarks.survey import DEFAULT_SLOPE, get_defects, observe_files, select_files
from tests.conftest import DATA

LRD = "LRD"
"""Suggested type of Little Red Dots, and their class in the catalog of the real files."""
SIMULATED_LRD = "lrd"
"""True class of simulated Little Red Dots."""
MIN_Z = 4.0
N_REPEATS = 140
"""Number of times that the real spectra are repeated to measure the speed."""
NO_PRIOR = (0.0, np.inf)
"""Mean and standard deviation of a prior that changes no slope."""
SlopeEstimator = Callable[[GriddedSpectra], tuple[Floats, Floats]]
"""From spectra to the slope and its 1 sigma error, (n_spectra,) each."""


@dataclass(frozen=True)
class ClassifiedSpectra:
    """Preprocessed spectra, their grid, and the class that each is known to be of."""

    batch: SpectrumBatch
    grid: WavelengthGrid
    classes: list[str]


@dataclass(frozen=True)
class LrdCriteria:
    """Estimators of both slopes, limits of the V shape, prior of beta_opt and least probability."""

    estimate_beta_uv: SlopeEstimator
    estimate_beta_opt: SlopeEstimator
    max_beta_uv: float = LRD_MAX_BETA_UV
    min_beta_opt: float = LRD_MIN_BETA_OPT
    beta_opt_prior: tuple[float, float] = LRD_BETA_OPT_PRIOR
    min_probability: float = MIN_PROBABILITY


def main() -> None:
    """Print the parts that are named, or all."""
    parts = {"real": print_real, "control": print_control, "windows": print_windows, "speed": print_speed}
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", default=list(parts), metavar=" | ".join(parts))
    parser.add_argument("--seeds", type=int, default=4, help="number of simulated archives")
    parser.add_argument("--first-seed", type=int, default=0, help="seed of the first of them")
    parser.add_argument("--spectra", type=int, default=2000, help="number of spectra in each of them")
    args = parser.parse_args()
    if unknown := set(args.parts) - set(parts):
        parser.error(f"no part {', '.join(sorted(unknown))}: choose from {', '.join(parts)}")
    real = read_real_spectra()
    control = [simulate_control(args.first_seed + i, args.spectra) for i in range(args.seeds)]
    for name in args.parts:
        parts[name](real, control)


def read_real_spectra() -> ClassifiedSpectra:
    """Return the real files of grade 3, at all redshifts, with their published classes."""
    config = real_config("dja", "unused")
    options: Any = config.archive
    archive = replace(options, z_min=0.0)
    entries = listing_to_entries(archive.list_spectra())
    outcomes = read_archive_spectra(archive, DEFAULT_ACCESS, entries)
    spectra = [outcome for outcome in outcomes if isinstance(outcome, Spectrum)]
    grid = config.grid.resolve(np.array([5.0]))
    batch, rejected = preprocess(spectra, grid, config.norm, DEFAULT_SLOPE)
    for i, error in rejected:
        print(f"rejected: {spectra[i].object_id}, z = {spectra[i].z:.2f}: {error}")
    with (DATA / "dja" / "catalog.csv").open() as file:
        classes = {row["file"]: row["known_class"] or "none" for row in csv.DictReader(file)}
    return ClassifiedSpectra(batch, grid, [classes[object_id] for object_id in batch.object_id])


def simulate_control(seed: int, n: int) -> ClassifiedSpectra:
    """Return a simulated archive as recipe `dja` selects it, with its defects and true classes."""
    config, recipe = SimulationConfig(n_spectra=n, seed=seed), dja("unused")
    table = select_files(plan_survey(config))
    rows: list[dict[str, Any]] = table.to_pylist()
    defects = get_defects(rows)
    spectra = observe_files(simulate_survey_flux(config, rows), table, defects, seed)
    grid = recipe.grid.resolve(np.array([5.0]))
    batch, _ = preprocess(spectra, grid, recipe.norm, DEFAULT_SLOPE)
    classes = [defects[int(i)] or rows[int(i)]["truth_class"] for i in batch.object_id]
    return ClassifiedSpectra(batch, grid, classes)


def suggest(spectra: ClassifiedSpectra) -> GalaxyTypeSuggestions:
    """Return the suggested types of spectra."""
    batch = spectra.batch
    measured = NIRSPEC_PRISM_MEASUREMENTS.measure(batch.flux, batch.ivar, batch.z, spectra.grid)
    return suggest_galaxy_types(GALAXY_TYPE_RULES, measured, len(batch))


def print_real(real: ClassifiedSpectra, _: Sequence[ClassifiedSpectra]) -> None:
    """Print a row for each real file, and how many published Little Red Dots get that type."""
    batch, classes, suggested, in_cluster = real.batch, real.classes, suggest(real), read_paper_cluster()
    for i in np.argsort(-batch.z):
        name = batch.object_id[i].removesuffix(".spec.fits").replace("_prism-clear", "")
        suggestion = f"{suggested.galaxy_type[i]:12s} {suggested.confidence[i]:.2f}  {suggested.reason[i]}"
        membership = "cluster" if batch.object_id[i] in in_cluster else "-"
        print(f"{name:42s} {batch.z[i]:5.2f} {classes[i]:4s} {membership:7s} {suggestion}")
    published = [i for i, name in enumerate(classes) if name == LRD]
    far = [i for i in published if batch.z[i] > MIN_Z]
    near = [i for i in published if batch.z[i] <= MIN_Z]
    for title, rows in {f"z > {MIN_Z:g}": far, f"z ≤ {MIN_Z:g}": near}.items():
        n_lrd = sum(suggested.galaxy_type[i] == LRD for i in rows)
        print(f"published LRDs at {title} in the store: {len(rows)}, suggested as LRD: {n_lrd}")
    others = Counter(suggested.galaxy_type[i] for i, name in enumerate(classes) if name != LRD)
    print("not published as LRDs:", dict(others))
    members = Counter(
        f"{classes[i]}, suggested as {suggested.galaxy_type[i]}"
        for i, name in enumerate(batch.object_id)
        if name in in_cluster
    )
    print("in the cluster of arXiv 2511.05439:", dict(members))


def read_paper_cluster() -> set[str]:
    """Return the files in the Little Red Dot cluster of arXiv 2511.05439, from its released code."""
    with (DATA / "published" / "measurements.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["quantity"] == "in_paper_lrd_cluster"]
    return {row["file"] for row in rows if float(row["value"])}


def print_control(_: ClassifiedSpectra, control: Sequence[ClassifiedSpectra]) -> None:
    """Print suggested types by true class, and the fraction of other spectra suggested as LRD."""
    fractions: list[float] = []
    counts: Counter[tuple[str, str]] = Counter()
    for spectra in control:
        suggested = suggest(spectra).galaxy_type
        counts.update(zip(spectra.classes, suggested, strict=True))
        others = [t for t, name in zip(suggested, spectra.classes, strict=True) if name != SIMULATED_LRD]
        fractions.append(statistics.mean(suggestion == LRD for suggestion in others))
    galaxy_types = [*(rule.galaxy_type for rule in GALAXY_TYPE_RULES), UNKNOWN]
    print(f"{'true class':24s}" + "".join(f"{name:>15s}" for name in galaxy_types))
    for truth in sorted({truth for truth, _ in counts}):
        print(f"{truth:24s}" + "".join(f"{counts[truth, name]:15d}" for name in galaxy_types))
    spread = statistics.stdev(fractions) if len(fractions) > 1 else float("nan")
    mean = statistics.mean(fractions)
    print(f"other spectra suggested as LRD: {mean:.4f} ± {spread:.4f} over {len(fractions)} archives")


def print_windows(real: ClassifiedSpectra, control: Sequence[ClassifiedSpectra]) -> None:
    """Print the numbers of LRDs for other windows, estimators and limits."""
    from_4150 = [window for window in OPTICAL_CONTINUUM_WINDOWS if window[0] > 4100.0]
    to_6990 = (6810.0, 6990.0)
    uv, optical = _power_law(UV_CONTINUUM_WINDOWS), _power_law(OPTICAL_CONTINUUM_WINDOWS)
    variants = {
        "as in the rules": LrdCriteria(uv, optical),
        "no prior": LrdCriteria(uv, optical, beta_opt_prior=NO_PRIOR),
        "no prior, probability > 0.8": LrdCriteria(uv, optical, beta_opt_prior=NO_PRIOR, min_probability=0.8),
        "prior -2 ± 1": LrdCriteria(uv, optical, beta_opt_prior=(-2.0, 1.0)),
        "limits of Kocevski+25": LrdCriteria(uv, optical, -0.37, 0.0),
        "optical 4150-6240": LrdCriteria(uv, _power_law(from_4150)),
        "optical 4005-6990": LrdCriteria(uv, _power_law([*OPTICAL_CONTINUUM_WINDOWS, to_6990])),
        "optical 4150-6990": LrdCriteria(uv, _power_law([*from_4150, to_6990])),
        "slopes of features": LrdCriteria(_feature("uv_slope"), _feature("optical_slope")),
    }
    is_published = (np.array(real.classes) == LRD) & (real.batch.z > MIN_Z)
    is_chosen = select_half(len(real.batch))
    for name, criteria in variants.items():
        is_found = is_lrd(real, criteria) & is_published
        n_found = f"{(is_found & is_chosen).sum()} of {(is_published & is_chosen).sum()}"
        n_found += f" and {(is_found & ~is_chosen).sum()} of {(is_published & ~is_chosen).sum()}"
        fractions = [
            is_lrd(spectra, criteria)[np.array(spectra.classes) != SIMULATED_LRD].mean()
            for spectra in control
        ]
        spread = np.std(fractions, ddof=1) if len(fractions) > 1 else float("nan")
        others = f"{np.mean(fractions):.4f} ± {spread:.4f}"
        print(f"{name:28s} published LRDs at z > {MIN_Z:g}: {n_found}; other spectra: {others}")


def select_half(n: int) -> Any:
    """Return which of the real files are of the half on which criteria are chosen, (n,)."""
    return np.random.default_rng(0).permutation(n) % 2 == 0


def _power_law(windows: Sequence[Window]) -> SlopeEstimator:
    """Return an estimator that fits a power law to windows."""
    return lambda spectra: fit_power_law(spectra, windows, NIRSPEC_PRISM)


def _feature(name: str) -> SlopeEstimator:
    """Return an estimator that takes a measurement of the feature space."""
    definition = next(each for each in NIRSPEC_PRISM_MEASUREMENTS.definitions if each.name == name)

    def estimate(spectra: GriddedSpectra) -> tuple[Floats, Floats]:
        measured = definition.measure(*spectra)
        return measured[name].astype(np.float64), measured[f"{name}_err"].astype(np.float64)

    return estimate


def is_lrd(spectra: ClassifiedSpectra, criteria: LrdCriteria) -> Any:
    """Return which spectra fulfill criteria: V shape and not quiescent, (n_spectra,)."""
    batch = spectra.batch
    gridded = GriddedSpectra(batch.flux, batch.ivar, batch.z, spectra.grid)
    values: dict[str, Any] = dict(NIRSPEC_PRISM_MEASUREMENTS.measure(*gridded))
    for name, estimate in (
        ("beta_uv", criteria.estimate_beta_uv),
        ("beta_opt", criteria.estimate_beta_opt),
    ):
        value, error = estimate(gridded)
        values[name], values[f"{name}_err"] = np.float32(value), np.float32(error)
    measured = MeasuredValues(values)
    v_shape = measured.prob_v_shape(
        criteria.max_beta_uv, criteria.min_beta_opt, LRD_MIN_BETA_DIFFERENCE, criteria.beta_opt_prior
    )
    return v_shape * measured.prob_above("balmer_ew", QUIESCENT_HALPHA_EW) > criteria.min_probability


def print_speed(real: ClassifiedSpectra, _: Sequence[ClassifiedSpectra]) -> None:
    """Print the rates of measurements and of suggestions on one core."""
    flux, ivar = (np.tile(values, (N_REPEATS, 1)) for values in (real.batch.flux, real.batch.ivar))
    z = np.tile(real.batch.z, N_REPEATS)
    rates: list[tuple[float, float]] = []
    for _repeat in range(6):
        start = time.process_time()
        values = NIRSPEC_PRISM_MEASUREMENTS.measure(flux, ivar, z, real.grid)
        middle = time.process_time()
        suggest_galaxy_types(GALAXY_TYPE_RULES, values, len(z))
        rates.append((len(z) / (middle - start), len(z) / (time.process_time() - middle)))
    # Without the first repetition, which compiles.
    for name, values in zip(("measurements", "suggestions"), zip(*rates[1:], strict=True), strict=True):
        limits = f"{min(values):,.0f}–{max(values):,.0f}"
        print(f"{name}: {statistics.median(values):,.0f} spectra/s per core ({limits})")


if __name__ == "__main__":
    main()
