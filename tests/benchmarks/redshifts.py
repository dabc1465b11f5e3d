"""Redshifts by the packaged model: success, intervals, wrong redshifts, speed, and a χ² scan beside it.

    python -m tests.benchmarks.redshifts [simulated | real] [--seeds N] [--first-seed N] [--spectra N]
        [--ablation] [--baseline-spectra N] [--baseline-templates N]

simulated: a column for each archive of N files, of which recipe `dja` selects the spectra, whose true
redshifts are known. Success is |Δz| / (1 + z) < 0.01. Spectra are unimodal if the probability that the best
redshift is wrong by more than that is below 0.05. Wrong redshifts: all spectra are given their true redshift
and then a wrong one, random or by confusion of two strong lines. Recall is the share of wrong ones with a
lower `probability_near` than 1 % of the true ones have. Shuffled: true redshifts of other spectra, where the
success is chance. Class: spectra called "noise", and featureless ones called "galaxy": noise alone, and power
laws with −2.5 < β < 1 and about S/N 0.5 and 5 a pixel. The χ² scan compares the first spectra of each archive
with noise-free simulated galaxies at every redshift step, with a free amplitude, the same weights and no
prior, in numpy. Its templates take
some minutes. With `--ablation`, further columns leave out parts of the estimator.

real: the DJA files of grade 3 (`DISTSPEC_TEST_DATA`) at all redshifts, and a row for each failure.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.metrics import roc_curve

from distspec.archives.simulated.archive import (
    draw_survey_galaxies,
    simulate_galaxy_flux,
    simulate_survey_flux,
)
from distspec.archives.simulated.nirspec import WAVE
from distspec.archives.simulated.survey import SimulationConfig, plan_survey
from distspec.core.lines import GALAXY_LINES
from distspec.core.spectrum import Floats, Spectrum
from distspec.ingest.read import listing_to_entries, read_archive_spectra
from distspec.io.remote.config import DEFAULT_ACCESS
from distspec.models.model import load_model
from distspec.redshifts import RedshiftConfig, RedshiftEstimates, RedshiftEstimator, TemplateMixture
from distspec.redshifts.pixels import WeightedPixels
from distspec.redshifts.posterior import SAME_REDSHIFT
from tests.benchmarks.real_files import real_config
from tests.benchmarks.survey import get_defects, observe, observe_files, select_files

MODEL = "prism-simulated"
UNIMODAL = 0.05
"""Probability of another redshift than the best below which a posterior counts as unimodal."""
CONFUSED_LINES = [GALAXY_LINES[name] for name in ("Lyα", "[O II]", "[O III] 5007", "Hα")]
FALSE_ALARMS = 0.01
RATE_SPECTRA = 1200
"""Number of spectra, copies of the sample's, for which the rate is measured."""
FEATURELESS = {"noise alone": 0.0, "power laws, S/N 0.5": 0.01, "power laws, S/N 5": 0.1}
"""Featureless spectra and their flux density at 2 um [uJy]."""
TEMPLATES_SEED = 1000
"""Seed of the archive that the model was trained on."""
MIN_BASELINE_Z = 0.01
"""Lowest redshift of the templates: at 0 their distance is 0."""


@dataclass(frozen=True)
class Sample:
    """Spectra of known redshifts.

    Attributes
    ----------
    spectra : list of Spectrum
        The spectra.
    z : ndarray of shape (n_spectra,)
        Their redshifts.
    """

    spectra: list[Spectrum]
    z: Floats

    @property
    def snr(self) -> Floats:
        """Median signal-to-noise ratio of the valid pixels, shape (n_spectra,)."""
        return np.array([np.median((s.flux * np.sqrt(s.ivar))[s.ivar > 0]) for s in self.spectra])


def simulate(n_files: int, seed: int) -> Sample:
    """Simulate an archive of ordinary galaxies."""
    config = SimulationConfig(
        n_spectra=n_files, seed=seed, repeat_fraction=0.0, defect_fraction=0.0, anomaly_fraction=0.0
    )
    table = select_files(plan_survey(config))
    rows: list[dict[str, Any]] = table.to_pylist()
    spectra = observe_files(simulate_survey_flux(config, rows), table, get_defects(rows), seed)
    return Sample([replace(each, z=np.nan) for each in spectra], table["z_true"].to_numpy())


def simulate_featureless(n_files: int, seed: int, level: float) -> list[Spectrum]:
    """Simulate noise with exposure times of a survey, and power laws of `level` [uJy] at 2 um."""
    exptime = plan_survey(SimulationConfig(n_spectra=n_files, seed=seed))["exptime"].to_numpy()
    slopes = np.random.default_rng([seed, 8]).uniform(-2.5, 1.0, (n_files, 1))
    flux = level * (WAVE / 2.0) ** (slopes + 2.0)
    rngs = [np.random.default_rng([seed, 9, index]) for index in range(n_files)]
    return observe(flux, np.full(n_files, np.nan), exptime, [""] * n_files, rngs)


def read_real_files() -> Sample:
    """Read the DJA files of grade 3 at all redshifts."""
    archive: Any = replace(real_config("dja", "unused").archive, z_min=0.0, sys_err=0.0)
    read = read_archive_spectra(archive, DEFAULT_ACCESS, listing_to_entries(archive.list_spectra()))
    spectra = [each for each in read if isinstance(each, Spectrum)]
    z = np.array([spectrum.z for spectrum in spectra])
    return Sample([replace(each, z=np.nan) for each in spectra], z)


def is_right(z_found: Floats, z: Floats) -> Any:
    """Return whether redshifts agree, (n_spectra,)."""
    return np.abs(z_found - z) < SAME_REDSHIFT * (1.0 + z)


def get_best(estimates: RedshiftEstimates) -> Floats:
    """Return the best redshifts, (n_estimates,)."""
    return np.array([posterior.z_best for posterior in estimates.posteriors])


def measure(estimator: RedshiftEstimator, sample: Sample, seed: int) -> dict[str, float]:
    """Estimate the redshifts of a sample and return all measures by their names."""
    estimator.estimate(sample.spectra[:2])  # compiles, and projects the templates
    estimates = estimator.estimate(sample.spectra)
    copies = sample.spectra * (RATE_SPECTRA // len(sample.spectra) + 1)
    rate = len(copies) / measure_seconds(estimator, copies)
    one = measure_seconds(estimator, sample.spectra[-1:], sample.spectra[-1:])
    z, snr, best = sample.z[estimates.index], sample.snr[estimates.index], get_best(estimates)
    ok, posteriors = is_right(best, z), estimates.posteriors
    low, high = np.array([[p.quantile(0.16), p.quantile(0.84)] for p in posteriors]).T
    p_other = np.array([p.outlier_probability(p.z_best) for p in posteriors])
    unimodal = p_other < UNIMODAL
    rng = np.random.default_rng([seed, 7])
    found: dict[str, float] = {"spectra": len(z), "rejected": len(estimates.rejected)}
    for name, rows in {
        "success": np.ones(len(z), bool),
        "success, S/N > 5": snr > 5.0,
        "success, S/N 2–5": (snr > 2.0) & (snr <= 5.0),
        "success, S/N < 2": snr <= 2.0,
        "success where unimodal": unimodal,
    }.items():
        found[name] = ok[rows].mean() if rows.any() else np.nan
    found |= {
        "first or second solution right": (ok | is_right(_get_second(estimates), z)).mean(),
        "unimodal": unimodal.mean(),
        "in the 68 % interval where unimodal": ((low < z) & (z < high))[unimodal].mean(),
        "median |Δz| / (1 + z) where right": np.median((np.abs(best - z) / (1.0 + z))[ok]),
        "success, shuffled": is_right(best, rng.permutation(z)).mean(),
        "called noise": (np.array(estimates.z_class) == "noise").mean(),
        "called other": (np.array(estimates.z_class) == "other").mean(),
        "success where not called noise": ok[np.array(estimates.z_class) != "noise"].mean(),
    }
    wrong = {"random": draw_random(z, estimator.config, rng), "line confusions": confuse_lines(z, rng)}
    true_p = estimate_given(estimator, sample, estimates.index, z)
    found["outlier_probability of true redshifts > 0.5"] = np.mean([p > 0.5 for p, _ in true_p])
    for name, z_wrong in wrong.items():
        wrong_p = estimate_given(estimator, sample, estimates.index, z_wrong)
        found[f"outlier_probability > 0.5, {name}"] = np.mean([p > 0.5 for p, _ in wrong_p])
        near = -np.array([near for _, near in (*true_p, *wrong_p)])
        false_alarms, recall, _ = roc_curve(np.repeat([0, 1], len(z)), near, drop_intermediate=False)
        # Of fewer than 100 spectra, one is more than 1 %.
        found[f"recall, {name}"] = np.interp(max(FALSE_ALARMS, 1.0 / len(z)), false_alarms, recall)
    return found | {
        "spectra per second of CPU time": rate,
        "CPU seconds for one spectrum": one,
    }


def measure_seconds(
    estimator: RedshiftEstimator, spectra: list[Spectrum], before: Sequence[Spectrum] = ()
) -> float:
    """Return the CPU time of an estimate, if the templates were projected for those estimated before."""
    estimator.estimate(before)
    start = time.process_time()
    estimator.estimate(spectra)
    return time.process_time() - start


def estimate_given(
    estimator: RedshiftEstimator, sample: Sample, index: list[int], z: Floats
) -> list[tuple[float, float]]:
    """Estimate the spectra again with a redshift of the archive.

    Returns
    -------
    list of (float, float)
        Probability that it is an outlier, and the probability near it, of each spectrum.
    """
    given = [replace(sample.spectra[i], z=value) for i, value in zip(index, z.tolist(), strict=True)]
    posteriors = estimator.estimate(given).posteriors
    return [
        (p.outlier_probability(s.z), p.probability_near(s.z)) for p, s in zip(posteriors, given, strict=True)
    ]


def _get_second(estimates: RedshiftEstimates) -> Floats:
    return np.array([posterior.z_second for posterior in estimates.posteriors])


def draw_random(z: Floats, config: RedshiftConfig, rng: np.random.Generator) -> Floats:
    """Return wrong redshifts whose ln(1 + z) are equally probable."""
    limits = np.log1p([config.z_min, config.z_max])
    wrong = np.expm1(rng.uniform(*limits, len(z)))
    while (same := is_right(wrong, z)).any():
        wrong[same] = np.expm1(rng.uniform(*limits, int(same.sum())))
    return wrong


def confuse_lines(z: Floats, rng: np.random.Generator) -> Floats:
    """Return wrong redshifts at which a strong line was taken for another one, all positive."""
    wrong = np.full(len(z), -1.0)
    while (missing := wrong < 0.0).any():
        pairs = np.array([rng.permutation(CONFUSED_LINES)[:2] for _ in range(int(missing.sum()))])
        wrong[missing] = (1.0 + z[missing]) * pairs[:, 0] / pairs[:, 1] - 1.0
    return wrong


@dataclass(frozen=True)
class ChiSquareScan:
    """Noise-free galaxies at each redshift of a grid, as templates of a χ² scan.

    Attributes
    ----------
    z : ndarray of shape (n_z,)
        Redshifts.
    templates : ndarray of shape (n_z, n_templates, 473)
        Noise-free spectra [uJy].
    """

    z: Floats
    templates: Floats

    @classmethod
    def simulate(cls, n_templates: int, z: Floats) -> ChiSquareScan:
        """Simulate galaxies of the archive that the model was trained on."""
        config = SimulationConfig(n_spectra=20 * n_templates, seed=TEMPLATES_SEED)
        rows = select_files(plan_survey(config)).to_pylist()[:n_templates]
        galaxies = draw_survey_galaxies(config, rows)
        flux = [simulate_galaxy_flux(galaxies, np.full(len(rows), each)).astype(np.float32) for each in z]
        return cls(z, np.array(flux))

    def estimate(self, spectra: Sequence[Spectrum], error_floor: float) -> Floats:
        """Return the redshifts with the lowest χ², (n_spectra,)."""
        flux, ivar = np.array([s.flux for s in spectra]), np.array([s.ivar for s in spectra])
        pixels = WeightedPixels.from_spectra(flux, ivar, error_floor, 0.0)
        weighted = pixels.weight * pixels.flux
        gain = [
            (np.maximum(weighted @ each.T, 0.0) ** 2 / np.maximum(pixels.weight @ (each**2).T, 1e-30)).max(
                axis=1
            )
            for each in self.templates / np.abs(self.templates).mean(axis=-1, keepdims=True)
        ]
        return self.z[np.array(gain).argmax(axis=0)]


def measure_scan(scan: ChiSquareScan, estimator: RedshiftEstimator, sample: Sample) -> dict[str, float]:
    """Return success and rate of a χ² scan, and the success of the estimator on the same spectra."""
    start = time.process_time()
    found = scan.estimate(sample.spectra, estimator.config.error_floor)
    seconds = time.process_time() - start
    estimates = estimator.estimate(sample.spectra)
    own = np.zeros(len(sample.z), bool)
    own[estimates.index] = is_right(get_best(estimates), sample.z[estimates.index])
    return {
        "χ² scan: spectra": len(sample.spectra),
        "χ² scan: success": is_right(found, sample.z).mean(),
        "the estimator on them: success": own.mean(),
        "χ² scan: spectra per second of CPU time": len(sample.spectra) / seconds,
    }


def make_variants(with_ablation: bool) -> dict[str, RedshiftEstimator]:
    """Return the estimator and, for an ablation, those that lack a part of it."""
    model = load_model(MODEL)
    complete = RedshiftEstimator.from_model(model)
    if not with_ablation:
        return {"": complete}
    return {
        "": complete,
        "no line-spread function": replace(complete, resolving_power=()),
        "absorption of one redshift": replace(
            complete, coarse=_keep_one_node(complete.coarse), fine=_keep_one_node(complete.fine)
        ),
        "one group": RedshiftEstimator.from_model(model, RedshiftConfig(n_groups=1)),
        "best fit": replace(complete, config=replace(complete.config, marginalize=False)),
        "prior of the training": replace(complete, config=replace(complete.config, use_prior=True)),
    }


def _keep_one_node(mixture: TemplateMixture) -> TemplateMixture:
    """Return the templates of the middle redshift alone."""
    middle = len(mixture.z_nodes) // 2
    own = slice(middle, middle + 1)
    return replace(mixture, z_nodes=mixture.z_nodes[own], templates=mixture.templates[own])


def print_table(columns: Mapping[str, Mapping[str, float]]) -> None:
    """Print a Markdown table with a column for each set of measures."""
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    print(f"| measure | {' | '.join(columns)} |\n|---|{'---:|' * len(columns)}")
    for name in names:
        values = [f"{column[name]:.4g}" if name in column else "" for column in columns.values()]
        print(f"| {name} | {' | '.join(values)} |")


def compare_simulated(args: argparse.Namespace) -> None:
    """Print the table of simulated archives."""
    variants = make_variants(args.ablation)
    complete = variants[""]
    scan = None
    if args.baseline_spectra:
        complete.estimate(simulate(args.spectra, args.first_seed).spectra[:1])
        _, fine = next(iter(complete._projected.values()))
        scan = ChiSquareScan.simulate(args.baseline_templates, fine.z[fine.z >= MIN_BASELINE_Z])
    columns: dict[str, dict[str, float]] = {}
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        sample = simulate(args.spectra, seed)
        featureless = {
            name: simulate_featureless(args.spectra, seed, level) for name, level in FEATURELESS.items()
        }
        for name, estimator in variants.items():
            columns[f"{seed} {name}".strip()] = measure(estimator, sample, seed) | {
                f"called galaxy, {text}": np.mean(
                    [each == "galaxy" for each in estimator.estimate(spectra).z_class]
                )
                for text, spectra in featureless.items()
            }
        if scan is not None:
            few = Sample(sample.spectra[: args.baseline_spectra], sample.z[: args.baseline_spectra])
            columns[str(seed)] |= measure_scan(scan, complete, few)
    print_table(columns)


def compare_real(args: argparse.Namespace) -> None:
    """Print the table of the real files, and the failures of the complete estimator."""
    sample, variants = read_real_files(), make_variants(args.ablation)
    print_table({name or "real": measure(each, sample, args.first_seed) for name, each in variants.items()})
    estimates = variants[""].estimate(sample.spectra)
    print("\n| file | z | best | second | Δχ² | ln Bayes factor |\n|---|---:|---:|---:|---:|---:|")
    for index, p, bayes in zip(estimates.index, estimates.posteriors, estimates.ln_bayes_factor, strict=True):
        if not is_right(np.array([p.z_best]), sample.z[[index]])[0]:
            values = f"{sample.z[index]:.3f} | {p.z_best:.3f} | {p.z_second:.3f} | {p.delta_chi2_second:.1f}"
            print(f"| {sample.spectra[index].object_id} | {values} | {bayes:.1f} |")
    for index, error in estimates.rejected:
        print(f"| {sample.spectra[index].object_id} | {sample.z[index]:.3f} | {error} | | | |")


def main() -> None:
    """Run the benchmark of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sample", nargs="?", default="simulated", choices=("simulated", "real"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=5000)
    parser.add_argument("--spectra", type=int, default=300, help="files of each simulated archive")
    parser.add_argument("--ablation", action="store_true")
    parser.add_argument("--baseline-spectra", type=int, default=50, help="0: no χ² scan")
    parser.add_argument("--baseline-templates", type=int, default=100)
    args = parser.parse_args()
    (compare_real if args.sample == "real" else compare_simulated)(args)


if __name__ == "__main__":
    main()
