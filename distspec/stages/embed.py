"""Embedding on Ray: actors that hold the model say what it makes of every row of the store."""

from __future__ import annotations

from typing import Any

import numpy as np
import ray
import torch
from ray.util import ActorPool
from tqdm import tqdm

from distspec.lineage import has_model, load_model, model_id
from distspec.outcome import Outcome
from distspec.places import model_url, store_url
from distspec.spectrum import Floats32
from distspec.stages.session import n_cpus
from distspec.store import LATENTS, open_store
from distspec.training import TrainingConfig
from distspec.vae import VAEConfig, embed

CHUNKS_A_CALL = 4


@ray.remote(num_cpus=1)
class Embedder:
    """Holds a model and the store; embeds ranges of rows."""

    def __init__(self, store: str, model: str) -> None:
        torch.set_num_threads(1)
        self.store = open_store(store)
        self.vae, _ = load_model(model)

    def embed(self, start: int, stop: int) -> dict[str, Floats32]:
        """Return `distspec.store.LATENTS` of rows start … stop − 1."""
        flux, ivar = self.store.spectra(slice(start, stop))
        result = embed(self.vae, torch.from_numpy(flux), torch.from_numpy(ivar))
        return {name: values.numpy() for name, values in result.items()}


def embed_store(root: str, vae: VAEConfig, training: TrainingConfig, seed: int) -> Outcome:
    """Write latents and reconstruction errors of every row that this model has not embedded yet.

    Raises
    ------
    FileNotFoundError
        When the model has not been trained.
    """
    store = open_store(store_url(root))
    name = model_id(store.digest(), vae, training, seed)
    url = model_url(root, name)
    if not has_model(url):
        raise FileNotFoundError(f"no model at {url}: run `python -m jobs.train` with these settings first")
    done = store.n_embedded(name)
    if done == store.n_rows:
        return Outcome({"model": name, "embedded": done}, did_work=False)
    step = CHUNKS_A_CALL * store.chunk_rows
    ranges = [(start, min(start + step, store.n_rows)) for start in range(done, store.n_rows, step)]
    actors = [Embedder.remote(store.url, url) for _ in range(min(n_cpus(), len(ranges)))]
    parts: list[dict[str, Floats32]] = []
    with tqdm(total=store.n_rows - done, desc="embed", unit="spectrum", disable=None) as bar:
        results: Any = ActorPool(actors).map(lambda actor, span: actor.embed.remote(*span), ranges)
        for part in results:
            parts.append(part)
            bar.update(len(part["recon_mse"]))
    latents: dict[str, Any] = {key: np.concatenate([part[key] for part in parts]) for key in LATENTS}
    store.write_latents(name, latents)
    return Outcome(
        {
            "model": name,
            "embedded": len(latents["recon_mse"]),
            "median_recon_mse": float(np.median(latents["recon_mse"])),
            "median_chi2_red": float(np.median(latents["recon_chi2_red"])),
        }
    )
