"""Ingest on Ray: tasks read and preprocess batches of files, the driver commits them in order."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import ray
from tqdm import tqdm

from distspec.archives.protocol import Archive, Entry
from distspec.ingestion import (
    Committer,
    IngestConfig,
    check_settings,
    entries,
    freeze,
    load,
    missing,
    pilot,
    read,
    split,
)
from distspec.outcome import Outcome
from distspec.places import store_url
from distspec.preprocessing import GridConfig, NormConfig
from distspec.spectrum import Spectrum
from distspec.stages.bounded import in_order
from distspec.stages.session import n_cpus
from distspec.store import Store, create_store, open_store, store_exists

log = logging.getLogger(__name__)

read_task = ray.remote(num_cpus=1)(read)
load_task = ray.remote(num_cpus=1)(load)


def ingest(root: str, archive: Archive, grid: GridConfig, norm: NormConfig, config: IngestConfig) -> Outcome:
    """Bring the store up to what the archive lists.

    Parameters
    ----------
    root : str
    archive : Archive
    grid, norm : GridConfig, NormConfig
        The choices that a new store freezes; an old store must have been made with the same.
    config : IngestConfig

    Raises
    ------
    ValueError
        When the store was made with other settings, or there is nothing to make one of.
    """
    url = store_url(root)
    listing = archive.list()
    store = open_store(url) if store_exists(url) else None
    if store is not None:
        check_settings(store.frozen, grid, norm)
    todo = missing(listing, store)
    if not len(todo) and store is not None:
        return Outcome({"listed": len(listing), "in_store": store.n_rows}, did_work=False)
    if not len(listing):
        raise ValueError("the archive lists no spectrum that the selection keeps: check --archive.*")
    in_flight = config.in_flight or 2 * n_cpus()
    shared = ray.put(archive)
    if store is None:
        store = _create(url, shared, todo, grid, norm, config, in_flight)
    frozen = store.frozen

    def submit(batch: Any) -> ray.ObjectRef[Any]:
        return load_task.remote(shared, batch, frozen.grid, norm, frozen.sample_slope)

    committer = Committer(store, todo, config.commit_rows)
    batches = list(split(entries(todo), config.batch_size))
    with tqdm(total=len(todo), desc="ingest", unit="spectrum", disable=None) as bar:
        for loaded in in_order(submit, batches, in_flight):
            committer.add(loaded)
            bar.update(len(loaded.batch) + len(loaded.rejected))
    committer.commit()
    return Outcome(
        {
            "listed": len(listing),
            "listed_twice": len(listing) - len(listing["object_id"].unique()),
            "new": len(todo),
            "stored": committer.n_rows,
            "quarantined": committer.n_rejected,
            "in_store": committer.store.n_rows,
        }
    )


def _create(
    url: str,
    archive: ray.ObjectRef[Archive],
    listing: Any,
    grid: GridConfig,
    norm: NormConfig,
    config: IngestConfig,
    in_flight: int,
) -> Store:
    """Choose grid and median slope from the listing and a pilot sample of it, and make the store."""

    def submit(batch: Any) -> ray.ObjectRef[Any]:
        return read_task.remote(archive, batch)

    sample: list[Entry] = pilot(listing)
    spectra: list[Spectrum] = []
    for good, _, _ in in_order(submit, split(sample, config.batch_size), in_flight):
        spectra += good
    if not spectra:
        raise ValueError(
            f"none of the first {len(sample)} files could be read, the first being {sample[0].uri}: "
            "check --archive.url"
        )
    frozen = freeze(spectra, np.asarray(listing["z"]), grid, norm)
    log.info(
        "new store: %d pixels, %.0f–%.0f Å, UV slope of the sample %.2f",
        frozen.grid.n_pixels,
        frozen.grid.start,
        frozen.grid.stop,
        frozen.sample_slope,
    )
    return create_store(url, frozen)
