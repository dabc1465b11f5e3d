"""Embedding on Ray: actors that hold the model say what it makes of every row; one process commits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count, islice
from typing import Any

import numpy as np
import ray
import torch

from distspec.core import memory as memory_module
from distspec.core.spectrum import Floats32
from distspec.io.paths import model_url, store_url
from distspec.models.embed import embed_spectra
from distspec.models.latents import CHUNK, append_latents, n_embedded, read_latents
from distspec.models.model import Model, load_model
from distspec.models.serialization import has_model
from distspec.stages.pool import Crew, in_order
from distspec.stages.progress import Progress
from distspec.stages.result import Outcome
from distspec.stages.session import ACTORS_A_GPU, n_gpus, places
from distspec.store.store import Store, open_store
from distspec.store.transactions import spans

COMMIT_SPANS = 16
"""Spans a commit: a killed run loses at most so many times the rows of a chunk."""
RESTARTS, RETRIES = 100, 3
"""An actor that dies is replaced so often, and what it was at is done again so often."""
Span = tuple[int, int]


@ray.remote(num_cpus=1, max_restarts=RESTARTS, max_task_retries=RETRIES)
class Embedder:
    """Holds a model and one state of the store."""

    def __init__(self, store: str, snapshot_id: str, model: str, device: str) -> None:
        torch.set_num_threads(1)
        torch.set_float32_matmul_precision("highest")
        self.store = open_store(store, snapshot_id)
        self.model = load_model(model, device)

    def embed(self, span: Span) -> dict[str, Floats32]:
        """Return `distspec.models.latents.columns` of rows start … stop − 1."""
        return embed_span(self.store, self.model, span)


def embed_span(store: Store, model: Model, span: Span) -> dict[str, Floats32]:
    """Return `distspec.models.latents.columns` of rows start … stop − 1: the same bits whoever does it."""
    rows = slice(*span)
    z = np.asarray(store.array("z")[rows])
    return embed_spectra(model, store.frozen.kind, *store.spectra(rows), z, span[0])[0]


def embed_store(root: str, name: str) -> Outcome:
    """Write what a model makes of every row that it has not embedded yet, and what is measured on them.

    Parameters
    ----------
    root : str
    name : str
        Of the model, below this root: trained on this store, or on another of the same grid and scale.

    Raises
    ------
    FileNotFoundError
        When there is no such model.
    ValueError
        When the store is not on the model's grid and scale.
    """
    store = open_store(store_url(root))
    url = model_url(root, name)
    if not has_model(url):
        raise FileNotFoundError(f"no model at {url}: run `python -m jobs.train` with these settings first")
    done = n_embedded(store, name)
    if done == store.n_rows:
        return Outcome({"model": name, "embedded": done}, did_work=False)
    load_model(url).check_fits(store)
    todo = spans(done, store.n_rows, span_rows(store))
    crew = hire(store, url, len(todo))
    newest, start, progress = store, done, Progress("embed", store.n_rows - done, "spectrum")
    for part in gathered(progress.over(embedded(crew, todo), lambda part: len(part["z_mean"]))):
        newest = append_latents(newest, name, start, part)
        start += len(part["z_mean"])
    crew.dismiss()
    errors = read_latents(newest, name, ("recon_mse", "recon_chi2_red"))
    return Outcome(
        {
            "model": name,
            "embedded": store.n_rows - done,
            "median_recon_mse": float(np.median(errors["recon_mse"])),
            "median_chi2_red": float(np.median(errors["recon_chi2_red"])),
        }
    )


def span_rows(store: Store) -> int:
    """Return the rows of a span: whole chunks of spectra, and of latents."""
    return max(CHUNK, store.chunk_rows)


def hire(store: Store, model: str, n_spans: int) -> Crew:
    """Start actors for a state of a store and a model's folder: on the cluster's GPUs, else on its CPUs."""
    gpus = n_gpus()
    most = min(n_spans, gpus * ACTORS_A_GPU or n_spans)
    share, device = (1.0 / ACTORS_A_GPU, "cuda") if gpus else (0.0, "cpu")
    memory = memory_module.span(span_rows(store), store.frozen.grid.n_pixels)
    each = {"CPU": 1.0, "memory": memory}
    kind: Any = Embedder.options(num_gpus=share, memory=memory)
    return Crew(
        lambda: kind.remote(store.url, store.snapshot_id, model, device),
        most,
        lambda: places("an actor that embeds", each, "use a grid of fewer pixels"),
    )


def embedded(crew: Crew, todo: Sequence[Span]) -> Iterator[dict[str, Floats32]]:
    """Yield `distspec.models.latents.columns` of spans, in their order; actors take them in turn."""
    turns = count()

    def submit(span: Span) -> Any:
        here = crew.here()
        return here[next(turns) % len(here)].embed.remote(span)

    return in_order(submit, todo, lambda: 2 * len(crew.here()))


def gathered(results: Iterable[Mapping[str, Floats32]]) -> Iterator[dict[str, Floats32]]:
    """Join `COMMIT_SPANS` results at a time."""
    each = iter(results)
    while group := list(islice(each, COMMIT_SPANS)):
        yield {name: np.concatenate([part[name] for part in group]) for name in group[0]}
