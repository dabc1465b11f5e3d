"""Embedding a store with the stage's actor, against `distspec.models.vae.embed` of as many spectra in memory.

16,384 spectra of 640 pixels and the default VAE, in pairs: an actor of one thread reads whole chunks from
local disk (the page cache), embeds and hands back what it found; one process of one thread embeds batches of
the same size. Then the same of an archive in which Lyα is measured, too, and with the commits. What it takes
an actor to start, import and load is a row of its own. Last, what embedding costs beyond encoding and
decoding, and the dense layers of these against bare single-precision products.
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
from tests.benchmarks.timing import Row, paired, rate
from tests.conftest import append, batch_of, identity_of

N_SPECTRA, REPEATS = 16_384, 5


def run() -> list[Row]:
    torch.set_num_threads(1)
    vae, (flux, ivar) = make_vae(), make_sample(N_SPECTRA)
    whole = Batch.from_spectra(flux, ivar, torch.full((N_SPECTRA,), 5.0))
    vae.initialize_from_sample(whole[: 2 * FORWARD_BATCH_SIZE])
    vae.eval()

    @torch.inference_mode()
    def there_and_back() -> None:
        for start in range(0, N_SPECTRA, FORWARD_BATCH_SIZE):
            part = whole[start : start + FORWARD_BATCH_SIZE]
            vae.decode(vae.encode(part)[0], part.z)

    def passes() -> None:
        for start in range(0, N_SPECTRA, FORWARD_BATCH_SIZE):
            embed(vae, whole[start : start + FORWARD_BATCH_SIZE])

    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="ds-") as folder, local_ray():
        for kind, what in (("", "an actor"), ("dja", "an actor, Lyα too")):
            store, model = make_root(Path(folder) / f"of_{kind}", kind, whole, vae)
            begun = time.perf_counter()
            crew = start_embedder_pool(store, model, n_spans=1)
            crew.wait_ready()
            start = time.perf_counter() - begun
            ours, theirs = paired(partial(results, store, crew), passes, REPEATS)
            bare = rate("bare embed", N_SPECTRA, "spectra", theirs)
            rows.append(rate(what, N_SPECTRA, "spectra", ours).run_null_test(bare))
            if kind:
                ours, theirs = paired(partial(commits, store, crew, count()), passes, REPEATS)
                bare = rate("bare embed", N_SPECTRA, "spectra", theirs)
                rows.append(rate(f"{what}, and commits", N_SPECTRA, "spectra", ours).run_null_test(bare))
            rows.append(Row(f"{what}: to start", "s", (start,)))
            crew.shutdown()
    gflop = forward_gflop(vae, N_SPECTRA)
    products, products_gflop = sgemm(FORWARD_BATCH_SIZE, gflop)
    ours, theirs = paired(passes, there_and_back, REPEATS)
    bare = rate("encode and decode", N_SPECTRA, "spectra", theirs)
    rows.append(rate("bare embed", N_SPECTRA, "spectra", ours).run_null_test(bare))
    ours, theirs = paired(there_and_back, products, REPEATS)
    peak = rate(f"sgemm, batch {FORWARD_BATCH_SIZE}", products_gflop, "GFLOP", theirs)
    return [*rows, rate("encode and decode, dense layers", gflop, "GFLOP", ours).run_null_test(peak), peak]


def make_root(root: Path, kind: str, spectra: Batch, vae: SpectrumVAE) -> tuple[Store, str]:
    """Return a store of the spectra, of an archive of some kind, and the folder of a model of it."""
    grid, n = GridConfig().resolve(np.array([5.0])), len(spectra)
    flux, ivar = (each.numpy() for each in spectra.spectrum)
    batch = replace(batch_of(n, 1, np.random.default_rng(0)), flux=flux, ivar=ivar)
    store = create_store(str(root / "store"), StoreConfig(grid, 1500.0, -2.0, archive_name=kind))
    store = append(store, batch, identity_of(n))
    record = build_model_record(store, "m-1", vae.config, TrainingConfig(), 0)
    save_model(str(root / "m-1"), vae.state_dict(), pa.table({"epoch": [0.0]}), record)
    return store, str(root / "m-1")


def results(store: Store, crew: ActorPool) -> None:
    """Have every row embedded."""
    deque(embed_spans(crew, split_at_chunks(0, store.n_rows, rows_per_span(store))), maxlen=0)


def commits(store: Store, crew: ActorPool, numbers: Iterator[int]) -> None:
    """Have every row embedded by a model of another name, and commit what is found."""
    newest, start, name = open_store(store.url), 0, f"m-{next(numbers)}"
    for part in concatenate_results(
        embed_spans(crew, split_at_chunks(0, store.n_rows, rows_per_span(store)))
    ):
        newest = append_latents(newest, name, start, part)
        start += len(part["z_mean"])
