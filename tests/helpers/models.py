"""A small, untrained model for tests, with the record that the training would have written."""

from dataclasses import replace
from typing import Any

import pyarrow as pa
import torch

from distspec.io.paths import model_url
from distspec.models.batch import Batch
from distspec.models.config import SPECTRUM_KEY, VAEConfig
from distspec.models.record import TrainingMetrics
from distspec.models.serialization import save_model
from distspec.models.vae import SpectrumVAE
from distspec.store.store import Store
from distspec.training.config import TrainingConfig
from distspec.training.record import build_model_record

SMALL = VAEConfig(hidden_sizes=(16, 8), dropout=(0.1, 0.1), n_latents=3)


def save(store: Store, root: str, name: str = "m-1", seed: int = 0, **changes: Any) -> str:
    """Save an untrained model of a store's grid and scale under a root; return its folder.

    ``changes`` are fields of its record.
    """
    torch.manual_seed(seed)
    grid = store.config.grid
    vae = SpectrumVAE({SPECTRUM_KEY: grid.n_pixels}, SMALL, grid.wave_rest)
    generator = torch.Generator().manual_seed(seed)
    flux = 1.0 + 0.3 * torch.randn(32, grid.n_pixels, generator=generator)
    batch = Batch.from_spectra(flux, torch.full_like(flux, 10.0), torch.linspace(4.0, 9.0, 32))
    vae.initialize_from_sample(batch)
    vae.train()
    vae.encode(batch)  # updates the running statistics of batch norm
    history = pa.table({"epoch": [0.0], "train_total": [3.0], "val_recon": [2.0], "seconds": [1.0]})
    url = model_url(root, name)
    record = build_model_record(store, name, SMALL, TrainingConfig(), seed)
    record = replace(record, metrics=TrainingMetrics(best_epoch=0, val_recon=2.0), **changes)
    save_model(url, vae.state_dict(), history, record)
    return url
