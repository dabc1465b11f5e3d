"""The pretrained model of the package, and from how many spectra on an own model is better.

    python -m tests.benchmarks.pretrained train        # train it again and write it into the package
    python -m tests.benchmarks.pretrained evaluate     # its quality, with weights of 32 and of 16 bits
    python -m tests.benchmarks.pretrained sizes [--seeds N]   # models trained on few spectra, beside it

All numbers are of galaxies of another simulated archive ("reported" of `tests.benchmarks.models`). The models
of `sizes` have the settings of recipe `dja` and are trained on the first spectra of another archive. On one
idle core `train` takes a quarter of an hour, `evaluate` a minute, and `sizes` some minutes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from distspec.archives.dja import DJA
from distspec.archives.simulated.archive import write_catalog_and_truth, write_spectra
from distspec.archives.simulated.survey import SimulationConfig
from distspec.models.model import Model, load_model
from distspec.models.pretrained import PRETRAINED_MODELS
from distspec.models.record import TrainingMetrics
from distspec.models.serialization import save_model
from distspec.models.vae import SpectrumVAE
from distspec.pipeline.recipes import RECIPES
from distspec.store.store import Store
from distspec.training.distributed import ProcessGroup
from distspec.training.record import build_model_record, compute_model_id
from distspec.training.setup import build_trainer, read_repeat_rows, split_rows
from distspec.training.steps import init_training_state
from distspec.training.trainer import fit
from tests.benchmarks.ablation import embed_with_vae, evaluate
from tests.benchmarks.archive import ingest_without_ray
from tests.benchmarks.models import TrainingData, get_config, load_held_out_sample, make_batch, train_vae
from tests.benchmarks.survey import simulate_training_sample

NAME = "prism-simulated"
ARCHIVE = SimulationConfig(n_spectra=8000, seed=1000)
"""The archive that the pretrained model is trained on."""
RECIPE = replace(RECIPES["dja"]("unused"), archive=DJA())
TRAINING = replace(RECIPE.training, max_epochs=12)
"""The schedule of recipe dja, for more spectra."""
FULL_PRECISION = "weights of 32 bits"
SIZES = (25, 50, 100, 200, 400, 800, 1600)
SIZES_ARCHIVE_SEED = 0
MEASURES = ("error", "χ²", "accuracy", "same galaxy, new noise", "(Δμ)²/Σσ²")
"""Measures of `tests.benchmarks.ablation.evaluate` that are printed."""


def train(folder: Path, full_precision_folder: Path) -> None:
    """Train the model as the stage does with one worker, and write it twice."""
    with tempfile.TemporaryDirectory(prefix="ds-") as root:
        archive_url = f"{root}/archive"
        write_spectra(ARCHIVE, archive_url, 0, ARCHIVE.n_spectra)
        write_catalog_and_truth(ARCHIVE, archive_url)
        archive = DJA(catalog=f"{archive_url}/catalog.csv", url=archive_url)
        store = ingest_without_ray(root, replace(RECIPE, archive=archive).ingest_source())
        print(f"{store.n_rows} spectra", file=sys.stderr, flush=True)
        _train_on_store(store, folder, full_precision_folder)


def _train_on_store(store: Store, folder: Path, full_precision_folder: Path) -> None:
    torch.set_num_threads(1)
    split, seed = split_rows(store, TRAINING), RECIPE.seed
    model_id = compute_model_id(store.dataset_checksum(), RECIPE.vae, TRAINING, seed)
    record = build_model_record(store, model_id, RECIPE.vae, TRAINING, seed)
    torch.manual_seed(seed)
    vae = SpectrumVAE(record.input_sizes, record.vae, store.config.grid.wave_rest)
    state = init_training_state(vae, TRAINING)
    trainer = build_trainer(
        store, split, TRAINING, seed, ProcessGroup(), "", lambda: False, lambda m: print(m, file=sys.stderr)
    )
    best = fit(state, trainer)
    vae.load_state_dict(best.best_state_dict)
    repeats = read_repeat_rows(store)
    vae.calibrate_posteriors(trainer.read_rows(repeats[:, 0]), trainer.read_rows(repeats[:, 1]))
    metrics = TrainingMetrics(
        len(split.train), len(split.validation), len(state.history), best.best_epoch, best.best_loss
    )
    history = pa.Table.from_pylist([metrics.to_row() for metrics in state.history])
    record = replace(record, device="cpu", metrics=metrics)
    save_model(str(full_precision_folder), vae.state_dict(), history, record)
    record = replace(record, adaptations=("matrices are stored with 16 bits",))
    save_model(str(folder), halve_matrices(vae.state_dict()), history, record)


def halve_matrices(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights with the matrices of the network in 16 bits; PCA and all vectors keep 32 bits."""
    return {
        name: value.half() if value.ndim == 2 and name.endswith("weight") else value
        for name, value in state_dict.items()
    }


def measure(model: SpectrumVAE, n_pixels_grid: Any) -> dict[str, float]:
    """Return the quality of a model on held-out galaxies."""
    found = evaluate(partial(embed_with_vae, model), load_held_out_sample("dja", "reported"), n_pixels_grid)
    return {name: found[name] for name in MEASURES}


def compare_precision(half: Model, full: Model) -> None:
    """Print how much weights of 16 bits change latents and reconstructions of held-out galaxies."""
    view = load_held_out_sample("dja", "reported").first
    one, other = (embed_with_vae(model.vae, view) for model in (full, half))
    shift = np.abs(one.mean - other.mean) / np.sqrt(one.variance)
    relative = np.abs(one.recon - other.recon) / np.abs(one.recon)
    print(
        f"\n16 instead of 32 bits: latents change by {np.median(shift):.2g} posterior widths in the median, "
        f"{shift.max():.2g} at most, reconstructions by {np.median(relative):.1e} in the median"
    )


def print_rows(rows: Mapping[str, list[dict[str, float]]]) -> None:
    """Print a Markdown table of the measures, mean ± standard deviation over seeds."""
    print("| model |" + "|".join(MEASURES) + "|\n|" + "---|" * (len(MEASURES) + 1))
    for name, results in rows.items():
        cells: list[str] = []
        for column in MEASURES:
            values = [result[column] * (1e3 if column == "error" else 1.0) for result in results]
            spread = f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.3g}{spread}")
        print(f"|{name}|" + "|".join(cells) + "|", flush=True)


def compare_sizes(pretrained: Model, sizes: tuple[int, ...], n_seeds: int) -> None:
    """Print the quality of models trained on few spectra, and of the pretrained one."""
    config, grid = get_config("dja"), pretrained.grid
    sample = simulate_training_sample(2 * max(sizes), SIZES_ARCHIVE_SEED, grid, config.norm)
    spectra = make_batch(sample.flux, sample.ivar, sample.z)
    print_rows({f"{NAME}, not trained on them": [measure(pretrained.vae, grid)]})
    for size in sizes:
        results: list[dict[str, float]] = []
        for seed in range(n_seeds):
            rows = slice(seed * size, (seed + 1) * size)
            data = TrainingData.from_spectra(
                grid, spectra[rows], sample.source_ids[rows], config.training.validation_fraction
            )
            batch_size = min(config.training.batch_size, len(data.train))
            training = replace(config.training, batch_size=batch_size)
            results.append(measure(train_vae(config.vae, training, data, seed), grid))
        print_rows({f"trained on {size}": results})


def main() -> None:
    """Train or measure the pretrained model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("step", choices=["train", "evaluate", "sizes"])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--full-precision", type=Path, default=Path("out/pretrained"))
    args = parser.parse_args()
    folder = Path(PRETRAINED_MODELS[NAME])
    if args.step == "train":
        train(folder, args.full_precision)
        return
    model = load_model(str(folder))
    if args.step == "sizes":
        compare_sizes(model, tuple(args.sizes), args.seeds)
        return
    rows = {NAME: [measure(model.vae, model.grid)]}
    if args.full_precision.exists():
        full = load_model(str(args.full_precision))
        rows[FULL_PRECISION] = [measure(full.vae, full.grid)]
        compare_precision(model, full)
    print_rows(rows)


if __name__ == "__main__":
    main()
