"""Embedding of a store by an actor of the stage, compared with `distspec.models.vae.embed` in memory.

16,384 spectra of 640 pixels and the default VAE. An actor with one thread reads whole chunks from local disk
(page cache), embeds them and returns the columns; a process with one thread embeds batches of the same size
from memory. The comparison is repeated for an archive with measurements, without and with commits. The time
until an actor is ready is a row of its own. The last rows compare embedding with encoding and decoding alone,
and the dense layers with single-precision matrix products.
"""

from __future__ import annotations

import tempfile
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from distspec.models.batch import Batch
from distspec.models.latents import append_latents
from distspec.models.model import FORWARD_BATCH_SIZE
from distspec.models.serialization import save_model
from distspec.models.vae import SpectrumVAE, embed
from distspec.preprocessing.resampling import GridConfig
from distspec.stages.embed import concatenate_results, embed_spans, rows_per_span, start_embedder_pool
from distspec.stages.pool import ActorPool
from distspec.store.config import StoreConfig
from distspec.store.store import Store, create_store, open_store
from distspec.store.transactions import split_at_chunks
from distspec.training.config import TrainingConfig
from distspec.training.record import build_model_record
from tests.benchmarks.archive import local_ray
from tests.benchmarks.sgemm import forward_gflop, make_sample, make_vae, sgemm
from tests.benchmarks.timing import Row, rate_row, time_pair
from tests.conftest import append, batch_of, identity_of

N_SPECTRA, REPEATS = 16_384, 5


def run() -> list[Row]:
    torch.set_num_threads(1)
    vae, (flux, ivar) = make_vae(), make_sample(N_SPECTRA)
    spectra = Batch.from_spectra(flux, ivar, torch.full((N_SPECTRA,), 5.0))
    vae.initialize_from_sample(spectra[: 2 * FORWARD_BATCH_SIZE])
    vae.eval()
    with tempfile.TemporaryDirectory(prefix="ds-") as folder, local_ray():
        rows = [
            *_time_actor(Path(folder) / "plain", "", "actor", spectra, vae),
            *_time_actor(Path(folder) / "dja", "dja", "actor, with measurements", spectra, vae),
        ]
    return [*rows, *_time_network(spectra, vae)]


def _embed_in_memory(vae: SpectrumVAE, spectra: Batch) -> None:
    for start in range(0, N_SPECTRA, FORWARD_BATCH_SIZE):
        embed(vae, spectra[start : start + FORWARD_BATCH_SIZE])


def _time_actor(root: Path, archive_name: str, name: str, spectra: Batch, vae: SpectrumVAE) -> list[Row]:
    """Compare an actor with embedding in memory; with commits as well if the archive has measurements."""
    store, model_location = make_root(root, archive_name, spectra, vae)
    begun = time.perf_counter()
    pool = start_embedder_pool(store, model_location, n_spans=1)
    pool.wait_ready()
    startup = time.perf_counter() - begun
    workloads = {name: partial(embed_store, store, pool)}
    if archive_name:
        workloads[f"{name} and commits"] = partial(embed_and_commit, store, pool, count())
    rows: list[Row] = []
    for title, workload in workloads.items():
        seconds, in_memory = time_pair(workload, lambda: _embed_in_memory(vae, spectra), REPEATS)
        reference = rate_row("embed in memory", N_SPECTRA, "spectra", in_memory)
        rows.append(rate_row(title, N_SPECTRA, "spectra", seconds).relative_to(reference))
    pool.shutdown()
    return [*rows, Row(f"{name}: startup", "s", (startup,))]


def _time_network(spectra: Batch, vae: SpectrumVAE) -> list[Row]:
    """Compare embedding with encoding and decoding, and these with matrix products."""

    @torch.inference_mode()
    def encode_and_decode() -> None:
        for start in range(0, N_SPECTRA, FORWARD_BATCH_SIZE):
            part = spectra[start : start + FORWARD_BATCH_SIZE]
            vae.decode(vae.encode(part)[0], part.z)

    gflop = forward_gflop(vae, N_SPECTRA)
    products, products_gflop = sgemm(FORWARD_BATCH_SIZE, gflop)
    seconds, forward = time_pair(lambda: _embed_in_memory(vae, spectra), encode_and_decode, REPEATS)
    passes = rate_row("encode and decode", N_SPECTRA, "spectra", forward)
    embedding = rate_row("embed in memory", N_SPECTRA, "spectra", seconds).relative_to(passes)
    seconds, bare = time_pair(encode_and_decode, products, REPEATS)
    peak = rate_row(f"sgemm, batch {FORWARD_BATCH_SIZE}", products_gflop, "GFLOP", bare)
    dense = rate_row("encode and decode, dense layers", gflop, "GFLOP", seconds).relative_to(peak)
    return [embedding, dense, peak]


def make_root(root: Path, archive_name: str, spectra: Batch, vae: SpectrumVAE) -> tuple[Store, str]:
    """Return a store with the spectra, and the folder of a model for it."""
    grid, n = GridConfig().resolve(np.array([5.0])), len(spectra)
    flux, ivar = (values.numpy() for values in spectra.spectrum)
    batch = replace(batch_of(n, 1, np.random.default_rng(0)), flux=flux, ivar=ivar)
    store = create_store(str(root / "store"), StoreConfig(grid, 1500.0, -2.0, archive_name=archive_name))
    store = append(store, batch, identity_of(n))
    record = build_model_record(store, "m-1", vae.config, TrainingConfig(), 0)
    save_model(str(root / "m-1"), vae.state_dict(), pa.table({"epoch": [0.0]}), record)
    return store, str(root / "m-1")


def embed_store(store: Store, pool: ActorPool) -> None:
    """Embed all rows of a store, and discard the result."""
    deque(embed_spans(pool, split_at_chunks(0, store.n_rows, rows_per_span(store))), maxlen=0)


def embed_and_commit(store: Store, pool: ActorPool, numbers: Iterator[int]) -> None:
    """Embed all rows of a store, and commit the result under the name of another model."""
    newest, start, model_id = open_store(store.url), 0, f"m-{next(numbers)}"
    spans = split_at_chunks(0, store.n_rows, rows_per_span(store))
    for columns in concatenate_results(embed_spans(pool, spans)):
        newest = append_latents(newest, model_id, start, columns)
        start += len(columns["z_mean"])
