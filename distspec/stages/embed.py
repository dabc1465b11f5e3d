"""Embedding on Ray: actors that hold the model say what it makes of every row of the store."""

from __future__ import annotations

from typing import Any

import icechunk
import numpy as np
import ray
import torch
from ray.util import ActorPool
from tqdm import tqdm

from distspec.latents import CHUNK, finish, make_room, n_embedded, read_latents, write_part
from distspec.lineage import has_model, load_model, model_id
from distspec.outcome import Outcome
from distspec.places import model_url, store_url
from distspec.stages.session import n_cpus
from distspec.store import open_store
from distspec.training import TrainingConfig
from distspec.transactions import spans
from distspec.vae import Batch, VAEConfig, embed


@ray.remote(num_cpus=1)
class Embedder:
    """Holds a model and the store; embeds spans of rows and writes what it finds."""

    def __init__(self, store: str, model: str) -> None:
        torch.set_num_threads(1)
        self.store = open_store(store)
        self.vae, record = load_model(model)
        self.model_id = str(record["model_id"])

    def embed(self, fork: icechunk.ForkSession, start: int, stop: int) -> icechunk.ForkSession:
        """Write `distspec.latents.LATENTS` of rows start … stop − 1 into a forked session."""
        flux, ivar = self.store.spectra(slice(start, stop))
        z = np.asarray(self.store.array("z")[start:stop], np.float32)
        batch = Batch.of_spectra(*(torch.from_numpy(each) for each in (flux, ivar, z)))
        result = embed(self.vae, batch)
        latents = {name: values.numpy() for name, values in result.items()}
        return write_part(fork, self.model_id, start, latents)


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
    done = n_embedded(store, name)
    if done == store.n_rows:
        return Outcome({"model": name, "embedded": done}, did_work=False)
    todo = spans(done, store.n_rows, CHUNK)
    writer = make_room(store.url, name, store.n_rows, vae.n_latents)
    actors = [Embedder.remote(store.url, url) for _ in range(min(n_cpus(), len(todo)))]
    results: Any = ActorPool(actors).map_unordered(
        lambda actor, span: actor.embed.remote(writer.fork(), *span), todo
    )
    forks = list(tqdm(results, total=len(todo), desc="embed", unit="span", disable=None))
    latents = read_latents(finish(store.url, writer, forks, name, store.n_rows), name)
    return Outcome(
        {
            "model": name,
            "embedded": store.n_rows - done,
            "median_recon_mse": float(np.median(latents["recon_mse"])),
            "median_chi2_red": float(np.median(latents["recon_chi2_red"])),
        }
    )
