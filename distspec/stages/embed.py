"""Embedding on Ray: actors that hold the model say what it makes of every row; one process commits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count, islice
from typing import Any

import numpy as np
import ray
import torch

from distspec.archives.registry import get_archive
from distspec.core import memory as memory_module
from distspec.core.spectrum import Floats32
from distspec.io.paths import model_url, store_url
from distspec.models.embed import embed_spectra
from distspec.models.latents import CHUNK_ROWS, append_latents, count_embedded, read_latents
from distspec.models.model import Model, load_model
from distspec.models.record import has_model
from distspec.stages.pool import ActorPool, map_ordered
from distspec.stages.progress import Progress
from distspec.stages.result import StageResult
from distspec.stages.session import ACTORS_PER_GPU, n_gpus, require_worker_slots
from distspec.store.store import Store, open_store
from distspec.store.transactions import split_at_chunks

SPANS_PER_COMMIT = 16
"""Spans a commit: a killed run loses at most so many times the rows of a chunk."""
MAX_RESTARTS, MAX_TASK_RETRIES = 100, 3
"""An actor that dies is replaced so often, and what it was at is done again so often."""
RowSpan = tuple[int, int]


@ray.remote(num_cpus=1, max_restarts=MAX_RESTARTS, max_task_retries=MAX_TASK_RETRIES)
class Embedder:
    """Holds a model and one state of the store."""

    def __init__(self, store_location: str, snapshot_id: str, model_location: str, device: str) -> None:
        torch.set_num_threads(1)
        torch.set_float32_matmul_precision("highest")
        self.store = open_store(store_location, snapshot_id)
        self.model = load_model(model_location, device)

    def embed(self, span: RowSpan) -> dict[str, Floats32]:
        """Return `distspec.models.latents.get_column_names` of rows start … stop − 1."""
        return embed_span(self.store, self.model, span)


def embed_span(store: Store, model: Model, span: RowSpan) -> dict[str, Floats32]:
    """Return `distspec.models.latents.get_column_names` of rows start … stop − 1: the same bits whoever does it."""
    rows = slice(*span)
    z = np.asarray(store.open_array("z")[rows])
    return embed_spectra(model, get_archive(store.config.archive_name), *store.read_spectra(rows), z, span[0])[0]


def embed_store(root: str, model_id: str) -> StageResult:
    """Write what a model makes of every row that it has not embedded yet, and what is measured on them.

    Parameters
    ----------
    root : str
    model_id : str
        Of the model, below this root: trained on this store, or on another of the same grid and scale.

    Raises
    ------
    FileNotFoundError
        When there is no such model.
    ValueError
        When the store is not on the model's grid and scale.
    """
    store = open_store(store_url(root))
    url = model_url(root, model_id)
    if not has_model(url):
        raise FileNotFoundError(f"no model at {url}: run `python -m jobs.train` with these settings first")
    done = count_embedded(store, model_id)
    if done == store.n_rows:
        return StageResult({"model": model_id, "embedded": done}, did_work=False)
    load_model(url).check_compatible(store)
    todo = split_at_chunks(done, store.n_rows, rows_per_span(store))
    crew = start_embedder_pool(store, url, len(todo))
    newest, start, progress = store, done, Progress("embed", store.n_rows - done, "spectrum")
    for part in concatenate_results(
        progress.track(embed_spans(crew, todo), lambda part: len(part["z_mean"]))
    ):
        newest = append_latents(newest, model_id, start, part)
        start += len(part["z_mean"])
    crew.shutdown()
    errors = read_latents(newest, model_id, ("recon_mse", "recon_chi2_red"))
    return StageResult(
        {
            "model": model_id,
            "embedded": store.n_rows - done,
            "median_recon_mse": float(np.median(errors["recon_mse"])),
            "median_chi2_red": float(np.median(errors["recon_chi2_red"])),
        }
    )


def rows_per_span(store: Store) -> int:
    """Return the rows of a span: whole chunks of spectra, and of latents."""
    return max(CHUNK_ROWS, store.chunk_rows)


def start_embedder_pool(store: Store, model_location: str, n_spans: int) -> ActorPool:
    """Start actors for a state of a store and a model's folder: on the cluster's GPUs, else on its CPUs."""
    gpus = n_gpus()
    most = min(n_spans, gpus * ACTORS_PER_GPU or n_spans)
    share, device = (1.0 / ACTORS_PER_GPU, "cuda") if gpus else (0.0, "cpu")
    memory = memory_module.estimate_inference_memory(rows_per_span(store), store.config.grid.n_pixels)
    each = {"CPU": 1.0, "memory": memory}
    kind: Any = Embedder.options(num_gpus=share, memory=memory)
    return ActorPool(
        lambda: kind.remote(store.url, store.snapshot_id, model_location, device),
        most,
        lambda: require_worker_slots("an actor that embeds", each, "use a grid of fewer pixels"),
    )


def embed_spans(pool: ActorPool, row_spans: Sequence[RowSpan]) -> Iterator[dict[str, Floats32]]:
    """Yield `distspec.models.latents.get_column_names` of spans, in their order; actors take them in turn."""
    turns = count()

    def submit(span: RowSpan) -> Any:
        here = pool.wait_ready()
        return here[next(turns) % len(here)].embed.remote(span)

    return map_ordered(submit, row_spans, lambda: 2 * len(pool.wait_ready()))


def concatenate_results(results: Iterable[Mapping[str, Floats32]]) -> Iterator[dict[str, Floats32]]:
    """Join `SPANS_PER_COMMIT` results at a time."""
    each = iter(results)
    while group := list(islice(each, SPANS_PER_COMMIT)):
        yield {name: np.concatenate([part[name] for part in group]) for name in group[0]}
