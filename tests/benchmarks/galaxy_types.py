"""Kinds that `distspec.measurements.galaxy_types` suggests for real spectra of published Little Red Dots, and for a control.

    python -m tests.benchmarks.galaxy_types [--seeds N] [--spectra N] [real | control | windows | speed]

real: the 76 real DJA files of grade 3 (`DISTSPEC_TEST_DATA`), a row each: redshift, published class, kind,
confidence, reason; and how many of the published Little Red Dots at z > 4 come out as such. control: made-up
archives of N spectra with artefacts and oddities, by true class; how many that are no Little Red Dots come
out as some. windows: how both hang on where and how slopes are taken. speed: spectra a second of one core.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from distspec.archives.simulated.archive import simulate_survey_flux
from distspec.archives.simulated.survey import SyntheticConfig, plan_survey
from distspec.core.instruments import NIRSPEC_PRISM
from distspec.core.spectrum import Spectrum, SpectrumBatch, WavelengthGrid
from distspec.ingest.read import listing_to_entries, read_archive_spectra
from distspec.io.remote.config import DEFAULT_ACCESS
from distspec.measurements.continuum import fit_power_law
from distspec.measurements.criteria import MeasuredValues
from distspec.measurements.galaxy_type_rules import (
    GALAXY_TYPE_RULES,
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
from distspec.measurements.indices import GriddedSpectra
from distspec.measurements.standard_sets import (
    NIRSPEC_PRISM_MEASUREMENTS,
    OPTICAL_CONTINUUM_WINDOWS,
    UV_CONTINUUM_WINDOWS,
)
from distspec.pipeline.recipes import RECIPES
from distspec.preprocessing.rest_frame import preprocess
from tests.benchmarks.survey import SAMPLE_SLOPE, _observe, _selected
from tests.conftest import DATA

Seen = tuple[SpectrumBatch, WavelengthGrid, list[str]]
"""Spectra, their grid, and what each is known to be."""


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", nargs="*", default=["real", "control", "windows", "speed"])
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--spectra", type=int, default=2000)
    given = parser.parse_args()
    real = _real()
    control = [_control(seed, given.spectra) for seed in range(given.n_seeds)]
    for what in given.what:
        {"real": _say_real, "control": _say_control, "windows": _say_windows, "speed": _say_speed}[what](
            real, control
        )


def _real() -> Seen:
    """Return the real files of grade 3, known to be LRD or not."""
    config, folder = RECIPES["dja"]("unused"), DATA / "dja"
    tables = {"catalog": str(folder / "catalog.csv"), "url": str(folder), "z_min": 0.0}
    archive = replace(config.archive, **tables)
    listed = listing_to_entries(archive.list_spectra())
    spectra = [
        each for each in read_archive_spectra(archive, DEFAULT_ACCESS, listed) if isinstance(each, Spectrum)
    ]
    grid = config.grid.resolve(np.array([5.0]))
    batch, rejected = preprocess(spectra, grid, config.norm, SAMPLE_SLOPE)
    for i, why in rejected:
        print(f"not in the store: {spectra[i].object_id}, z = {spectra[i].z:.2f}: {why}")
    with (folder / "catalog.csv").open() as file:
        known = {row["file"]: row["known_class"] or "none" for row in csv.DictReader(file)}
    return batch, grid, [known[name] for name in batch.object_id]


def _control(seed: int, n: int) -> Seen:
    """Return a made-up archive as recipe `dja` selects it, with artefacts and oddities."""
    config, dja = SyntheticConfig(n_spectra=n, seed=seed), RECIPES["dja"]("unused")
    table = _selected(plan_survey(config))
    rows: list[dict[str, Any]] = table.to_pylist()
    artefacts = [row["anomaly_type"] if row["anomaly_type"].startswith("artefact") else "" for row in rows]
    rngs = [np.random.default_rng([seed, 4, row["index"]]) for row in rows]
    flux, z, exptime = simulate_survey_flux(config, rows), table["z"].to_numpy(), table["exptime"].to_numpy()
    spectra = _observe(flux, z, exptime, artefacts, rngs)
    grid = dja.grid.resolve(np.array([5.0]))
    batch, _ = preprocess(spectra, grid, dja.norm, SAMPLE_SLOPE)
    truth = [artefacts[int(i)] or rows[int(i)]["truth_class"] for i in batch.object_id]
    return batch, grid, truth


def _suggested(seen: Seen) -> GalaxyTypeSuggestions:
    batch, grid, _ = seen
    return suggest_galaxy_types(
        GALAXY_TYPE_RULES,
        NIRSPEC_PRISM_MEASUREMENTS.measure(batch.flux, batch.ivar, batch.z, grid),
        len(batch),
    )


def _say_real(real: Seen, _: Sequence[Seen]) -> None:
    batch, known, said = real[0], real[2], _suggested(real)
    for i in np.argsort(-batch.z):
        name = batch.object_id[i].removesuffix(".spec.fits").replace("_prism-clear", "")
        verdict = f"{said.galaxy_type[i]:12s} {said.confidence[i]:.2f}  {said.reason[i]}"
        print(f"{name:42s} {batch.z[i]:5.2f} {known[i]:4s} {verdict}")
    far = [i for i, k in enumerate(known) if k == "LRD" and batch.z[i] > 4.0]
    near = [i for i, k in enumerate(known) if k == "LRD" and batch.z[i] <= 4.0]
    for what, rows in {"z > 4": far, "z ≤ 4": near}.items():
        found = sum(said.galaxy_type[i] == "LRD" for i in rows)
        print(f"published LRDs at {what} in the store: {len(rows)}, called LRD: {found}")
    others = Counter(said.galaxy_type[i] for i, k in enumerate(known) if k != "LRD")
    print("not published as LRDs:", dict(others))


def _say_control(_: Seen, control: Sequence[Seen]) -> None:
    rates: list[float] = []
    table: Counter[tuple[str, str]] = Counter()
    for seen in control:
        said = _suggested(seen).galaxy_type
        table.update(zip(seen[2], said, strict=True))
        rates.append(statistics.mean(k == "LRD" for k, t in zip(said, seen[2], strict=True) if t != "lrd"))
    truths = sorted({truth for truth, _ in table})
    print(f"{'truth':24s}" + "".join(f"{kind:>15s}" for kind in (*(rule.galaxy_type for rule in GALAXY_TYPE_RULES), UNKNOWN)))
    for truth in truths:
        print(f"{truth:24s}" + "".join(f"{table[truth, kind]:15d}" for kind in (*(rule.galaxy_type for rule in GALAXY_TYPE_RULES), UNKNOWN)))
    spread = statistics.stdev(rates) if len(rates) > 1 else float("nan")
    print(f"no LRDs called LRD: {statistics.mean(rates):.4f} ± {spread:.4f} over {len(rates)} archives")


def _say_windows(real: Seen, control: Sequence[Seen]) -> None:
    """Print how many come out as LRD by other windows, estimators and limits, all else equal."""
    known = {each.name: each for each in NIRSPEC_PRISM_MEASUREMENTS.definitions}
    shorter = [window for window in OPTICAL_CONTINUUM_WINDOWS if window[0] > 4100.0]
    longer = [*shorter, (6810.0, 6990.0)]

    def fitted(windows: Sequence[tuple[float, float]]) -> Callable[[GriddedSpectra], Any]:
        return lambda some: fit_power_law(some, windows, NIRSPEC_PRISM)

    uv, optical = fitted(UV_CONTINUUM_WINDOWS), fitted(OPTICAL_CONTINUUM_WINDOWS)
    ways: Mapping[str, tuple[Callable[[GriddedSpectra], Any], Callable[[GriddedSpectra], Any], float, float]] = {
        "as it is": (uv, optical, LRD_MAX_BETA_UV, LRD_MIN_BETA_OPT),
        "limits of Kocevski+25": (uv, optical, -0.37, 0.0),
        "optical 4150-6240": (uv, fitted(shorter), LRD_MAX_BETA_UV, LRD_MIN_BETA_OPT),
        "optical 4005-6990": (uv, fitted([*OPTICAL_CONTINUUM_WINDOWS, longer[-1]]), LRD_MAX_BETA_UV, LRD_MIN_BETA_OPT),
        "optical 4150-6990": (uv, fitted(longer), LRD_MAX_BETA_UV, LRD_MIN_BETA_OPT),
        "slopes of class space": (
            lambda some: _of(known["uv_slope"], some), lambda some: _of(known["optical_slope"], some),
            LRD_MAX_BETA_UV, LRD_MIN_BETA_OPT,
        ),
    }  # fmt: skip
    for name, way in ways.items():
        counts = [_vs(seen, *way) for seen in (real, *control)]
        far = np.array([k == "LRD" for k in real[2]]) & (real[0].z > 4.0)
        others = [np.array([t != "lrd" for t in seen[2]]) for seen in control]
        rates = [found[rows].mean() for found, rows in zip(counts[1:], others, strict=True)]
        wrong = f"{np.mean(rates):.4f} ± {np.std(rates, ddof=1):.4f}"
        print(f"{name:24s} LRD at z > 4: {counts[0][far].sum()}; no LRDs: {wrong}")


def _of(measure_: Any, some: GriddedSpectra) -> Any:
    found = measure_.measure(*some)
    return found[measure_.name].astype(float), found[f"{measure_.name}_err"].astype(float)


def _vs(seen: Seen, blue: Any, optical: Any, uv_limit: float, opt_limit: float) -> Any:
    """Tell which spectra are LRDs by other slopes and limits: V and no dormant galaxy, (N,)."""
    batch, grid, _ = seen
    some = GriddedSpectra(batch.flux, batch.ivar, batch.z, grid)
    values = NIRSPEC_PRISM_MEASUREMENTS.measure(*some)
    for name, (value, error) in {"beta_uv": blue(some), "beta_opt": optical(some)}.items():
        values[name], values[f"{name}_err"] = np.float32(value), np.float32(error)
    again = MeasuredValues(values)
    return (
        again.prob_v_shape(uv_limit, opt_limit, LRD_MIN_BETA_DIFFERENCE)
        * again.prob_above("balmer_ew", QUIESCENT_HALPHA_EW)
        > MIN_PROBABILITY
    )


def _say_speed(real: Seen, _: Sequence[Seen]) -> None:
    batch, grid, _ = real
    many = [np.tile(a, (140, 1)) for a in (batch.flux, batch.ivar)]
    z = np.tile(batch.z, 140)
    rates: list[tuple[float, float]] = []
    for _ in range(6):
        start = time.process_time()
        values = NIRSPEC_PRISM_MEASUREMENTS.measure(*many, z, grid)
        middle = time.process_time()
        suggest_galaxy_types(GALAXY_TYPE_RULES, values, len(z))
        rates.append((len(z) / (middle - start), len(z) / (time.process_time() - middle)))
    for what, each in zip(("measured", "named"), zip(*rates[1:], strict=True), strict=True):
        print(f"{what}: {statistics.median(each):,.0f} spectra/s a core ({min(each):,.0f}–{max(each):,.0f})")


if __name__ == "__main__":
    main()
