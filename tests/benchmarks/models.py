"""Models of recipes `dja` and `paper`, trained on a simulated archive, and held-out galaxies."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from distspec.core.spectrum import Floats32, WavelengthGrid
from distspec.models.batch import Batch
from distspec.models.config import SPECTRUM_KEY, VAEConfig
from distspec.models.vae import SpectrumVAE, decode_flux, embed
from distspec.pipeline.config import Config
from distspec.pipeline.recipes import RECIPES
from distspec.store.splits import find_repeat_pairs, is_validation
from distspec.training.config import TrainingConfig
from distspec.training.distributed import ProcessGroup
from distspec.training.state import EarlyStopping
from distspec.training.steps import init_training_state, train_step, validate
from tests.benchmarks.bagpipes_galaxies import simulate_bagpipes_sample
from tests.benchmarks.survey import HeldOutSample, simulate_held_out_sample, simulate_training_sample

N_FILES, ARCHIVE_SEED = 4000, 0
"""Size and seed of the archive that models are trained on."""
HELD_OUT_ARCHIVES = {"chosen": (1000, 101), "reported": (1500, 202), "bagpipes": (1200, 303)}
"""Size and seed of archives with held-out galaxies: for the choice of settings, for published numbers, and of
another origin than the training's (`tests.benchmarks.bagpipes_galaxies`)."""
MAX_EPOCHS = 100
PAPER_LEARNING_RATE = 1e-3
"""Learning rate for recipe `paper`, ten times its own, since it is trained for fewer epochs."""
LEARNSPEC_MAX_EPOCHS = 400
"""Number of epochs of recipe `learnspec`, whose learning rate has fallen to a tenth by then."""
FINE_GRID, N_FINE_PIXELS = "dja on a fine grid", 1280
"""Recipe `dja` with twice the pixels, so that the grid is finer than the prism's pixels, and their number."""
REFERENCE_Z = np.array([5.5])
"""Redshift for which grids in the observed frame are computed."""


@dataclass(frozen=True)
class TrainingData:
    """Spectra to train a model on.

    Attributes
    ----------
    grid : WavelengthGrid
        Grid of the spectra.
    train, validation : Batch
        Spectra to train on, and spectra of held-out sources by which the training stops.
    repeats : tuple of Batch
        First and second spectrum of sources that were observed twice.
    """

    grid: WavelengthGrid
    train: Batch
    validation: Batch
    repeats: tuple[Batch, Batch]

    @classmethod
    def from_spectra(
        cls, grid: WavelengthGrid, spectra: Batch, source_ids: list[str], validation_fraction: float
    ) -> TrainingData:
        """Divide spectra by their sources."""
        held_out = torch.from_numpy(is_validation(source_ids, validation_fraction))
        pairs = torch.from_numpy(find_repeat_pairs(source_ids))
        repeats = spectra[pairs[:, 0]], spectra[pairs[:, 1]]
        return cls(grid, spectra[~held_out], spectra[held_out], repeats)


def get_config(recipe: str) -> Config:
    """Return the settings of a recipe, or of `FINE_GRID`, with limits on the number of epochs."""
    config = RECIPES["dja" if recipe == FINE_GRID else recipe]("unused")
    if recipe == "paper":
        training = replace(config.training, learning_rate=PAPER_LEARNING_RATE, max_epochs=MAX_EPOCHS)
    elif recipe == "learnspec":
        training = replace(config.training, max_epochs=LEARNSPEC_MAX_EPOCHS)
    else:
        training = replace(config.training, max_epochs=min(MAX_EPOCHS, config.training.max_epochs))
    grid = replace(config.grid, n_pixels=N_FINE_PIXELS) if recipe == FINE_GRID else config.grid
    return replace(config, training=training, grid=grid)


def get_grid(recipe: str) -> WavelengthGrid:
    """Return the grid of a recipe."""
    return get_config(recipe).grid.resolve(REFERENCE_Z)


@lru_cache(maxsize=4)
def load_training_data(recipe: str) -> TrainingData:
    """Return the simulated archive, on the grid of a recipe."""
    config, grid = get_config(recipe), get_grid(recipe)
    sample = simulate_training_sample(N_FILES, ARCHIVE_SEED, grid, config.norm)
    spectra = make_batch(sample.flux, sample.ivar, sample.z)
    fraction = config.training.validation_fraction
    return TrainingData.from_spectra(grid, spectra, sample.source_ids, fraction)


@lru_cache(maxsize=4)
def load_held_out_sample(recipe: str, name: str) -> HeldOutSample:
    """Return a sample of `HELD_OUT_ARCHIVES`, on the grid of a recipe."""
    simulate = simulate_bagpipes_sample if name == "bagpipes" else simulate_held_out_sample
    return simulate(*HELD_OUT_ARCHIVES[name], get_grid(recipe), get_config(recipe).norm)


def make_batch(flux: Any, ivar: Any, z: Any) -> Batch:
    """Return arrays as a batch of float32."""
    return Batch.from_spectra(*(torch.from_numpy(np.asarray(a, np.float32)) for a in (flux, ivar, z)))


def train_vae(vae: VAEConfig, training: TrainingConfig, data: TrainingData, seed: int) -> SpectrumVAE:
    """Train a model as the stage does with one worker, without its data loading and checkpoints."""
    model = _initialize_vae(vae, data, seed)
    state, process_group = init_training_state(model, training), ProcessGroup()
    stopping = EarlyStopping(training.patience)
    for epoch in range(training.max_epochs):
        model.train()
        for rows in torch.randperm(len(data.train)).split(training.batch_size):
            if len(rows) == training.batch_size:
                train_step(state, data.train[rows], training, process_group, 1.0)
                state.step += 1
        loss = validate(model, iter([data.validation]), process_group)["recon"]
        if stopping.update(epoch, loss, model.state_dict()):
            break
    model.load_state_dict(stopping.best_state_dict)
    model.calibrate_posteriors(*data.repeats)
    return model.eval()


def make_untrained_vae(vae: VAEConfig, data: TrainingData, seed: int) -> SpectrumVAE:
    """Return a model before the first step: its networks give 0, and what remains is probabilistic PCA."""
    model = _initialize_vae(vae, data, seed)
    model.calibrate_posteriors(*data.repeats)
    return model.eval()


def _initialize_vae(vae: VAEConfig, data: TrainingData, seed: int) -> SpectrumVAE:
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = SpectrumVAE({SPECTRUM_KEY: data.grid.n_pixels}, vae, data.grid.wave_rest)
    model.initialize_from_sample(data.train)
    return model


def train_recipe(recipe: str, seed: int) -> SpectrumVAE:
    """Train the model of recipe `dja` or `paper`."""
    config = get_config(recipe)
    return train_vae(config.vae, config.training, load_training_data(recipe), seed)


def embed_spectra(model: SpectrumVAE, flux: Any, ivar: Any, z: Any) -> dict[str, Any]:
    """Return the result of `distspec.models.vae.embed` as arrays."""
    columns: Mapping[str, torch.Tensor] = embed(model, make_batch(flux, ivar, z))
    return {name: values.numpy() for name, values in columns.items()}


def decode_at(model: SpectrumVAE, z_mean: Any, z: float) -> Floats32:
    """Return the spectra that a model decodes from latents at one redshift, (n_spectra, n_pixels)."""
    return decode_flux(model, torch.from_numpy(z_mean), torch.full((len(z_mean),), z)).numpy()


def load_or_make(folder: Path | None, name: str, make: Callable[[], Any]) -> Any:
    """Return a pickled object from a folder, or make it and keep it there; without a folder, make it."""
    path = folder / f"{name}.pickle" if folder else None
    if path and path.exists():
        return pickle.loads(path.read_bytes())
    made = make()
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(made, protocol=5))
    return made
