"""The embed stage: actors that hold the model embed and measure rows, and the driver commits them.

Rows of a single span are embedded in a task, which may run in a process that has run another one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count, islice
from typing import Any

import numpy as np
import ray
import torch

from distspec.archives.registry import get_archive
from distspec.core import memory as memory_module
from distspec.core.errors import NotFoundError
from distspec.core.spectrum import Floats32
from distspec.io.paths import model_url, store_url
from distspec.models.embed import embed_spectra
from distspec.models.latents import CHUNK_ROWS, append_latents, count_embedded, read_latents
from distspec.models.model import Model, load_model
from distspec.models.record import has_model
from distspec.redshifts.latents import RedshiftSamples, widen_posteriors
from distspec.stages.pool import ActorPool, count_retries, get_result, map_ordered
from distspec.stages.progress import Progress
from distspec.stages.result import StageResult
from distspec.stages.session import ACTORS_PER_GPU, n_gpus, require_worker_slots
from distspec.store.store import Store, open_store
from distspec.store.transactions import split_at_chunks

SPANS_PER_COMMIT = 16
"""Number of spans per commit; a job that is killed loses at most these."""
MAX_RESTARTS = 100
"""Number of times that an actor that died is replaced."""
MAX_TASK_RETRIES = 3
"""Number of times that the span of an actor that died is embedded again."""
RowSpan = tuple[int, int]
"""First row, and the row after the last."""


@ray.remote(num_cpus=1, max_restarts=MAX_RESTARTS, max_task_retries=MAX_TASK_RETRIES)
class Embedder:
    """Actor that holds a model and one snapshot of the store.

    Parameters
    ----------
    store_location : str
        URL of the store.
    snapshot_id : str
        Snapshot of the store.
    model_location : str
        Folder of the model.
    device : str
        Torch device on which the network runs.
    redshift_samples : RedshiftSamples, optional
        See `embed_span`.
    """

    def __init__(
        self,
        store_location: str,
        snapshot_id: str,
        model_location: str,
        device: str,
        redshift_samples: RedshiftSamples | None = None,
    ) -> None:
        self.store, self.model = _open_for_embedding(store_location, snapshot_id, model_location, device)
        self.redshift_samples = redshift_samples

    @count_retries
    def embed(self, span: RowSpan) -> dict[str, Floats32]:
        """Embed a span of rows: see `embed_span`."""
        return embed_span(self.store, self.model, span, self.redshift_samples)


@ray.remote(num_cpus=1, max_retries=MAX_TASK_RETRIES)
@count_retries
def _embed_in_task(
    store_location: str,
    snapshot_id: str,
    model_location: str,
    device: str,
    redshift_samples: RedshiftSamples,
    span: RowSpan,
) -> dict[str, Floats32]:
    """Embed a span of rows: see `embed_span`."""
    opened = _open_for_embedding(store_location, snapshot_id, model_location, device)
    return embed_span(*opened, span, redshift_samples)


def _open_for_embedding(
    store_location: str, snapshot_id: str, model_location: str, device: str
) -> tuple[Store, Model]:
    """Open the store and the model in a process that computes with one thread in full precision."""
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("highest")
    return open_store(store_location, snapshot_id), load_model(model_location, device)


def embed_span(
    store: Store, model: Model, span: RowSpan, redshift_samples: RedshiftSamples | None = None
) -> dict[str, Floats32]:
    """Embed and measure a span of rows; the result is the same, bit for bit, in whichever process.

    Parameters
    ----------
    store : Store
        Snapshot of the store.
    model : Model
        The model.
    span : tuple of int
        First row, and the row after the last.
    redshift_samples : RedshiftSamples, optional
        Possible redshifts of rows whose redshift the model has measured: they widen the posteriors.

    Returns
    -------
    dict of str to ndarray
        The columns `distspec.models.latents.get_column_names`, each of shape (n_rows,) or (n_rows,
        n_latents).
    """
    rows = slice(*span)
    archive, z = get_archive(store.config.archive_name), np.asarray(store.open_array("z")[rows])
    flux, ivar = store.read_spectra(rows)
    columns, ivar = embed_spectra(model, archive, flux, ivar, z, span[0])
    own = redshift_samples.select(*span) if redshift_samples else None
    if own is not None and len(own.rows):
        k = own.rows - span[0]
        inputs = columns["z_mean"][k], columns["z_log_var"][k], flux[k], ivar[k], z[k], own.z
        columns["z_log_var"][k] = widen_posteriors(model, *inputs)
    return columns


def embed_store(root: str, model_id: str) -> StageResult:
    """Embed and measure all rows of the store that a model has not embedded yet.

    Parameters
    ----------
    root : str
        Root of the store and of the model.
    model_id : str
        Name of the model. It was trained on this store, or on another of the same grid and scale.

    Returns
    -------
    StageResult
        The number of rows embedded, and the median errors of the reconstructions of all rows.

    Raises
    ------
    NotFoundError
        If there is no such model.
    ModelError
        If the store is not on the model's grid and scale.
    """
    store, url = open_store(store_url(root)), model_url(root, model_id)
    if not has_model(url):
        raise NotFoundError(f"no model at {url}: run `distspec run train RECIPE --root {root}` first")
    n_embedded = count_embedded(store, model_id)
    if n_embedded == store.n_rows:
        return StageResult({"model": model_id, "embedded": n_embedded}, did_work=False)
    load_model(url).check_compatible(store)
    spans = split_at_chunks(n_embedded, store.n_rows, rows_per_span(store))
    samples = RedshiftSamples.read(root, store, n_embedded)
    pool = start_embedder_pool(store, url, len(spans), samples) if len(spans) > 1 else None
    embedded = embed_spans(pool, spans) if pool else iter([_embed_one_span(store, url, samples, spans[0])])
    progress = Progress("embed", store.n_rows - n_embedded, "spectrum")
    results = progress.track(embedded, lambda columns: len(columns["z_mean"]))
    newest, start_row = store, n_embedded
    for columns in concatenate_results(results):
        newest = append_latents(newest, model_id, start_row, columns)
        start_row += len(columns["z_mean"])
    if pool:
        pool.shutdown()
    errors = read_latents(newest, model_id, ("recon_mse", "recon_chi2_red"))
    return StageResult(
        {
            "model": model_id,
            "embedded": store.n_rows - n_embedded,
            "median_recon_mse": float(np.median(errors["recon_mse"])),
            "median_chi2_red": float(np.median(errors["recon_chi2_red"])),
        }
    )


def rows_per_span(store: Store) -> int:
    """Return the number of rows that one call of an actor embeds: whole chunks of spectra and of latents.

    Parameters
    ----------
    store : Store
        Store of the spectra.
    """
    return max(CHUNK_ROWS, store.chunk_rows)


def start_embedder_pool(
    store: Store, model_location: str, n_spans: int, redshift_samples: RedshiftSamples | None = None
) -> ActorPool:
    """Return a pool of `Embedder` actors on the cluster's GPUs, or on its CPUs if it has none.

    Parameters
    ----------
    store : Store
        Snapshot of the store.
    model_location : str
        Folder of the model.
    n_spans : int
        Number of spans to embed, which limits the number of actors.
    redshift_samples : RedshiftSamples, optional
        See `embed_span`.
    """
    resources, device = _get_embedder_resources(store)
    max_actors = min(n_spans, n_gpus() * ACTORS_PER_GPU or n_spans)
    actor_class: Any = Embedder.options(num_gpus=resources["GPU"], memory=resources["memory"])
    samples = ray.put(redshift_samples)
    return ActorPool(
        lambda: actor_class.remote(store.url, store.snapshot_id, model_location, device, samples),
        max_actors,
        lambda: _count_embedder_slots(resources),
    )


def _embed_one_span(
    store: Store, model_location: str, redshift_samples: RedshiftSamples, span: RowSpan
) -> dict[str, Floats32]:
    """Embed a span in a task, with the resources of an actor."""
    resources, device = _get_embedder_resources(store)
    _count_embedder_slots(resources)
    task: Any = _embed_in_task.options(num_gpus=resources["GPU"], memory=resources["memory"])
    inputs = store.url, store.snapshot_id, model_location, device, redshift_samples, span
    return get_result(task.remote(*inputs), span)


def _get_embedder_resources(store: Store) -> tuple[dict[str, float], str]:
    """Return what an actor needs of Ray's resources, and its torch device."""
    memory = memory_module.estimate_inference_memory(rows_per_span(store), store.config.grid.n_pixels)
    gpu_fraction, device = (1.0 / ACTORS_PER_GPU, "cuda") if n_gpus() else (0.0, "cpu")
    return {"CPU": 1.0, "memory": memory, "GPU": gpu_fraction}, device


def _count_embedder_slots(resources: Mapping[str, float]) -> int:
    """Return how many actors the present nodes have room for."""
    needed = {name: resources[name] for name in ("CPU", "memory")}
    return require_worker_slots("an actor that embeds", needed, "use a grid with fewer pixels")


def embed_spans(pool: ActorPool, row_spans: Sequence[RowSpan]) -> Iterator[dict[str, Floats32]]:
    """Yield the columns of spans in their order; the actors take turns.

    Parameters
    ----------
    pool : ActorPool
        The actors: `start_embedder_pool`.
    row_spans : sequence of tuple of int
        First row of each span, and the row after its last.
    """
    turns = count()

    def submit(span: RowSpan) -> Any:
        actors = pool.wait_ready()
        return actors[next(turns) % len(actors)].embed.remote(span)

    return map_ordered(submit, row_spans, lambda: 2 * len(pool.wait_ready()))


def concatenate_results(results: Iterable[Mapping[str, Floats32]]) -> Iterator[dict[str, Floats32]]:
    """Yield the columns of `SPANS_PER_COMMIT` spans at a time, concatenated.

    Parameters
    ----------
    results : iterable of mapping of str to ndarray
        Columns of each span, in the order of the rows: `embed_span`.
    """
    remaining = iter(results)
    while group := list(islice(remaining, SPANS_PER_COMMIT)):
        yield {name: np.concatenate([columns[name] for columns in group]) for name in group[0]}
