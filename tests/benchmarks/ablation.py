"""What each ingredient of recipe `dja`'s model is worth: the recipe, and the recipe without or with one more.

    python -m tests.benchmarks.ablation [--seeds N] [--jobs N] [--set chosen|reported] [ROW …]

Every row is trained on the same made-up archive of 4,000 files, from `--seeds` first weights, and judged on
sources of other archives: the settings were chosen on one ("chosen"), the table is of another ("reported").
Prints a Markdown table, mean ± standard deviation over seeds. About a minute a row and seed on one core.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import lru_cache
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch

from distspec.core.spectrum import WavelengthGrid
from distspec.measurements.standard_sets import NIRSPEC_PRISM_MEASUREMENTS
from distspec.models.batch import Batch
from distspec.models.config import SPECTRUM_KEY, VAEConfig
from distspec.models.vae import SpectrumVAE, decode_flux, embed
from distspec.pipeline.config import Config
from distspec.pipeline.recipes import dja, paper
from distspec.store.splits import find_repeat_pairs, is_validation
from distspec.training.config import TrainingConfig
from distspec.training.distributed import ProcessGroup
from distspec.training.state import EarlyStopping
from distspec.training.steps import init_training_state, train_step, validate
from tests.benchmarks import quality
from tests.benchmarks.survey import Held, View, archive, held_out

N_FILES, ARCHIVE_SEED = 4000, 0
HELD = {"chosen": (1000, 101), "reported": (1500, 202)}
"""Files and seed of the archives that rows are judged on."""
EPOCHS = 100
_Z = np.array([5.5])
_ROOT = "unused"

DJA = dja(_ROOT).vae
WITHOUT: Mapping[str, dict[str, Any]] = {
    "likelihood with ivar (squared error)": {"likelihood": "mse", "profile_amplitude": False},
    "falling floor (0.05 at once)": {"floor": (0.05, 0.05)},
    "probabilistic PCA to begin with": {"linear": False},
    "imputation": {"impute": False},
    "PCA and imputation": {"linear": False, "impute": False},
    "redshift given": {"condition_on_z": False},
    "hidden Lyα": {"hide_below": 0.0},
    "profiled amplitude": {"profile_amplitude": False},
    "instrument's blur": {"blur": False},
    "second view at another z": {"shift_z": False},
    "halves with independent noise": {"halves": False},
    "agreement of latents": {"agreement": 0.0},
    "dropout": {"dropout": (0.0,) * 4},
}
WITH: Mapping[str, dict[str, Any]] = {
    "decoder's dropout": {"decoder_dropout": True},
    "more noise in the second view": {"renoise": 1.5},
    "rescaled second view, no profile": {"rescale": 0.3, "profile_amplitude": False},
    "Student-t, 8 degrees": {"student": 8.0},
    "free bits, 0.1 nat": {"free_bits": 0.1},
    "β = 3": {"kl_weight": 3.0},
    "the paper's L2": {"l2": 1e-3},
}
ROWS: Mapping[str, VAEConfig] = {
    "paper": VAEConfig(),
    "dja": DJA,
    **{f"− {name}": replace(DJA, **change) for name, change in WITHOUT.items()},
    **{f"+ {name}": replace(DJA, **change) for name, change in WITH.items()},
}


def recipe(row: str) -> tuple[Config, TrainingConfig]:
    """Return the recipe that a row departs from, and how its model is trained.

    The paper's model is trained at 1e-3, ten times its rate, and at most `EPOCHS`.
    """
    if row == "paper":
        config = paper(_ROOT)
        return config, replace(config.training, learning_rate=1e-3, max_epochs=EPOCHS)
    config = dja(_ROOT)
    return config, replace(config.training, max_epochs=min(EPOCHS, config.training.max_epochs))


@lru_cache(maxsize=4)
def training_archive(row: str) -> tuple[WavelengthGrid, Batch, Batch, tuple[Batch, Batch]]:
    """Return the grid, what is trained on, what training stops by, and the sources seen twice."""
    config, training = recipe(row)
    grid = config.grid.resolve(_Z)
    flux, ivar, z, sources = archive(N_FILES, ARCHIVE_SEED, grid, config.norm)
    kept = is_validation(sources, training.validation_fraction)
    whole = as_batch(flux, ivar, z)
    twice = torch.from_numpy(find_repeat_pairs(sources))
    parts = whole[torch.from_numpy(~kept)], whole[torch.from_numpy(kept)]
    return grid, *parts, (whole[twice[:, 0]], whole[twice[:, 1]])


@lru_cache(maxsize=4)
def _held(row: str, which: str) -> Held:
    config, _ = recipe(row)
    return held_out(*HELD[which], config.grid.resolve(_Z), config.norm)


def as_batch(flux: Any, ivar: Any, z: Any) -> Batch:
    return Batch.from_spectra(*(torch.from_numpy(np.asarray(a, np.float32)) for a in (flux, ivar, z)))


def fitted(
    vae: VAEConfig,
    training: TrainingConfig,
    grid: WavelengthGrid,
    train: Batch,
    held: Batch,
    twice: tuple[Batch, Batch],
    seed: int,
) -> SpectrumVAE:
    """Train as the stage does, with one worker, without its feeding and checkpoints."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = SpectrumVAE({SPECTRUM_KEY: grid.n_pixels}, vae, grid.wave_rest)
    model.initialize_from_sample(train)
    state, team = init_training_state(model, training), ProcessGroup()
    stopping = EarlyStopping(training.patience)
    for epoch in range(training.max_epochs):
        model.train()
        for rows in torch.randperm(len(train)).split(training.batch_size):
            if len(rows) == training.batch_size:
                train_step(state, train[rows], training, team, 1.0)
                state.step += 1
        value = validate(model, iter([held]), team)["recon"]
        if state.step >= vae.n_annealing_steps and stopping.update(epoch, value, model.state_dict()):
            break
    model.load_state_dict(stopping.best_state_dict)
    model.calibrate_posteriors(*twice)
    return model.eval()


def judge(model: SpectrumVAE, held: Held, grid: WavelengthGrid) -> dict[str, float]:
    """Return every figure of `tests.benchmarks.quality` for one model."""
    views = (held.init_coords, held.again, held.elsewhere)
    found = [_embedded(model, view) for view in views]
    mean = [each["z_mean"] for each in found]
    var = [np.exp(each["z_log_var"]) for each in found]
    first, classes = held.init_coords, held.truth_class
    decoded = decode_flux(model, *(torch.from_numpy(a.astype(np.float32)) for a in (mean[0], first.z)))
    recon = decoded.numpy() * found[0]["amplitude"][:, None]
    native = quality.to_native(recon, grid, first.wave)
    chi2 = quality.chi2_red(native, first.native, first.native_ivar)
    bright = first.snr > quality.BRIGHT
    both = bright & (held.elsewhere.snr > quality.BRIGHT)
    masked = (first.ivar == 0).mean(axis=1)
    snr = np.log(np.maximum(first.snr, 0.05))
    again, elsewhere = (quality.nearest_itself(mean[0], other) for other in mean[1:])
    alone = quality.probe(mean[0], classes)
    width = NIRSPEC_PRISM_MEASUREMENTS.measure(first.flux, first.ivar, first.z, grid)
    beside = quality.probe(np.column_stack([mean[0], _lya_columns(width)]), classes)
    leak = {
        name: quality.leaks(mean[0], v, classes) for name, v in (("c", masked), ("s", snr), ("z", first.z))
    }
    return {
        "error": float(np.median(quality.errors(native, first.read_truth, first.native_ivar))),
        "recon_mse": float(np.median(quality.errors(native, first.native, first.native_ivar))),
        "χ²": float(np.median(chi2)),
        "χ², S/N > 8": float(np.median(chi2[bright])),
        "coverage, linear": leak["c"][0],
        "coverage, 10-NN": leak["c"][1],
        "log S/N, linear": leak["s"][0],
        "log S/N, 10-NN": leak["s"][1],
        "z, linear": leak["z"][0],
        "z, 10-NN": leak["z"][1],
        "itself, new noise": float(again.mean()),
        "itself, other z": float(elsewhere.mean()),
        "other z ÷ new noise": float(elsewhere.mean() / again.mean()),
        "itself, other z, S/N > 8": float(elsewhere[both].mean()),
        "itself, new noise, S/N > 8": float(again[bright].mean()),
        "accuracy": alone["accuracy"],
        "accuracy with Lyα": beside["accuracy"],
        "LAE recall": alone["recall"],
        "LAE precision": alone["precision"],
        "LAE recall with Lyα": beside["recall"],
        "LAE precision with Lyα": beside["precision"],
        "participation": quality.participation_ratio(mean[0]),
        "(Δμ)²/(σ₁²+σ₂²)": quality.posterior_ratio((mean[0], mean[1]), (var[0], var[1])),
    }


def _embedded(model: SpectrumVAE, view: View) -> dict[str, Any]:
    found = embed(model, as_batch(view.flux, view.ivar, view.z))
    return {name: values.double().numpy() for name, values in found.items()}


def _lya_columns(measured: Mapping[str, Any]) -> Any:
    """Return Lyα's width and its significance, (N, 2), bounded; 0 where it is not covered."""
    width, err = measured["lya_ew"], measured["lya_ew_err"]
    columns = np.column_stack([np.arcsinh(width / 10.0), np.clip(width / err, -10.0, 10.0)])
    return np.nan_to_num(columns)


def run(row: str, seed: int, which: str) -> dict[str, float]:
    """Train and judge one row from one seed."""
    _, training = recipe(row)
    grid, train, held, twice = training_archive(row if row == "paper" else "dja")
    model = fitted(ROWS[row], training, grid, train, held, twice, seed)
    return judge(model, _held(row if row == "paper" else "dja", which), grid)


def main() -> None:
    """Run rows and print the table; each result also goes to standard error as it comes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; all where none is named"
    )
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--set", choices=HELD, default="reported", dest="which")
    given = parser.parse_args()
    if unknown := set(given.rows) - set(ROWS):
        parser.error(f"no row {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    rows = given.rows or list(ROWS)
    with ProcessPoolExecutor(given.list_jobs, mp_context=get_context("spawn")) as pool:
        futures = {
            (row, seed): pool.submit(run, row, seed, given.which)
            for row in rows
            for seed in range(given.n_seeds)
        }
        found: dict[str, list[dict[str, float]]] = {row: [] for row in rows}
        for (row, seed), future in futures.items():
            found[row].append(future.result())
            print(row, seed, future.result(), file=sys.stderr, flush=True)
    names = list(found[rows[0]][0])
    print("| | " + " | ".join(names) + " |\n|---" + "|---:" * len(names) + "|")
    for row in rows:
        cells = [_cell([each[name] for each in found[row]]) for name in names]
        print(f"| {row} | " + " | ".join(cells) + " |")


def _cell(values: list[float]) -> str:
    digits = 4 if statistics.mean(values) < 0.01 else 3 if statistics.mean(values) < 1 else 2
    spread = statistics.stdev(values) if len(values) > 1 else float("nan")
    return f"{statistics.mean(values):.{digits}f} ± {spread:.{digits}f}"


if __name__ == "__main__":
    main()
