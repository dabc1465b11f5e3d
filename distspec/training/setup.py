"""Build a worker's train/validation split and its data loaders from the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from torch import Tensor

from distspec.core.errors import TrainingError
from distspec.models.batch import Batch
from distspec.models.vae import SpectrumVAE
from distspec.store.splits import find_repeat_pairs, is_validation
from distspec.store.store import Store
from distspec.training.checkpoint import CheckpointManager
from distspec.training.config import TrainingConfig
from distspec.training.data import (
    BatchLoader,
    CachedLoader,
    StoreReader,
    StreamingLoader,
    split_batch,
    stream_batches,
)
from distspec.training.distributed import ProcessGroup
from distspec.training.record import EpochMetrics
from distspec.training.sampler import (
    GlobalSampler,
    RowIndices,
    Sampler,
    SampleSpec,
    ShardedSampler,
    sample_rows,
)
from distspec.training.trainer import Trainer

N_INIT_SPECTRA = 16_384
"""Number of training spectra that initialize the network's scales and principal components."""
MAX_REPEAT_PAIRS = 4096
"""Number of pairs of repeats that calibrate the posteriors."""
BYTES_PER_PIXEL = 8
"""Size of a pixel of flux and ivar."""


@dataclass(frozen=True)
class TrainValidationSplit:
    """Rows of the store to train on, and rows held out.

    Attributes
    ----------
    train, validation : ndarray of shape (n_rows,), int64
        Row numbers, ascending.
    adaptations : tuple of str
        Settings that were changed to suit a small sample, for the record.
    """

    train: RowIndices
    validation: RowIndices
    adaptations: tuple[str, ...] = ()


def split_rows(store: Store, config: TrainingConfig) -> TrainValidationSplit:
    """Split the current rows of the store by their sources.

    If there are too few sources to hold some out, training and validation use the same rows.

    Parameters
    ----------
    store : Store
        Snapshot of the store.
    config : TrainingConfig
        Settings of the training.

    Returns
    -------
    TrainValidationSplit

    Raises
    ------
    TrainingError
        If there are fewer than two spectra per worker.
    """
    current = store.trusted_rows()
    held_out = is_validation(_read_source_ids(store, current), config.validation_fraction)
    train_rows, validation_rows = current[~held_out], current[held_out]
    adaptations: list[str] = []
    if len(validation_rows) < config.workers or len(train_rows) < 2 * config.workers:
        adaptations.append(
            f"trained and validated on the same {len(current)} spectra: too few sources to hold some out"
        )
        train_rows = validation_rows = current
    if len(train_rows) < 2 * config.workers:
        raise TrainingError(
            f"{store.url} holds {store.n_rows} spectra: training needs 2 per worker; "
            "relax the selection (--archive.*) or inspect the quarantine"
        )
    if len(train_rows) < config.batch_size:
        adaptations.append(
            f"batches of {len(train_rows)} spectra instead of {config.batch_size}: there are no more"
        )
    return TrainValidationSplit(train_rows, validation_rows, tuple(adaptations))


def read_repeat_rows(store: Store) -> RowIndices:
    """Return two current rows of each source that was observed more than once.

    Parameters
    ----------
    store : Store
        Snapshot of the store.

    Returns
    -------
    ndarray of shape (n_pairs, 2), int64
        At most `MAX_REPEAT_PAIRS` pairs.
    """
    current = store.trusted_rows()
    return current[find_repeat_pairs(_read_source_ids(store, current))][:MAX_REPEAT_PAIRS]


def build_trainer(
    store: Store,
    split: TrainValidationSplit,
    config: TrainingConfig,
    seed: int,
    process_group: ProcessGroup,
    checkpoints_url: str,
    is_preempted: Callable[[], bool],
    on_epoch_end: Callable[[EpochMetrics], Any],
    state_dict: Mapping[str, Tensor] | None = None,
) -> Trainer:
    """Build the trainer of one worker.

    The spectra are held on the device if they fit into ``config.cache_mb``, and are streamed otherwise.

    Parameters
    ----------
    store : Store
        Snapshot of the store, the same on all workers.
    split : TrainValidationSplit
        Rows to train on and rows held out.
    config : TrainingConfig
        Settings of the training.
    seed : int
        Random seed.
    process_group : ProcessGroup
        The workers.
    checkpoints_url : str
        Folder of the checkpoints; empty to save none.
    is_preempted : callable
        Returns whether a node is about to be reclaimed.
    on_epoch_end : callable
        Is called with the `EpochMetrics` of each completed epoch.
    state_dict : mapping of str to Tensor, optional
        Weights and buffers to start from; new weights, initialized from a sample of the spectra, if None.

    Returns
    -------
    Trainer
    """
    reader = StoreReader(store, process_group.device)
    spec = SampleSpec(split.train, min(config.batch_size, len(split.train)), seed)
    n_cacheable = int(config.cache_mb * 1e6 / (BYTES_PER_PIXEL * store.config.grid.n_pixels))
    sampler: Sampler
    loader: BatchLoader
    if len(split.train) <= n_cacheable:
        sampler = GlobalSampler(spec)
        loader = CachedLoader(split.train, reader.read(split.train), process_group.rank)
        n_cacheable -= len(split.train)
    else:
        sampler = ShardedSampler(spec, store.chunk_rows, config.shuffle_window_chunks)
        loader = StreamingLoader(reader.read, process_group.rank, config.prefetch_windows)

    def initialize_model(vae: SpectrumVAE) -> None:
        if state_dict is None:
            vae.initialize_from_sample(reader.read(sample_rows(spec, store.chunk_rows, N_INIT_SPECTRA)))
        else:
            vae.load_state_dict(state_dict)

    def read_object_ids(rows: NDArray[np.int64]) -> list[str]:
        return store.ledger(["object_id"])["object_id"].take(pa.array(rows)).to_pylist()

    return Trainer(
        config=config,
        process_group=process_group,
        sampler=sampler,
        train_loader=loader,
        validation_batches=_make_validation_batches(reader, split, config, process_group, n_cacheable),
        initialize_model=initialize_model,
        read_rows=reader.read,
        read_object_ids=read_object_ids,
        checkpoint_manager=CheckpointManager(
            checkpoints_url,
            sampler,
            process_group,
            config.checkpoint_interval_minutes,
            config.checkpoint_interval_steps,
            is_preempted,
        ),
        on_epoch_end=on_epoch_end,
    )


def _make_validation_batches(
    reader: StoreReader,
    split: TrainValidationSplit,
    config: TrainingConfig,
    process_group: ProcessGroup,
    n_cacheable: int,
) -> Callable[[], Iterator[Batch]]:
    """Return a function that yields this worker's held-out spectra, from memory if they fit."""
    # Neighboring rows go to the same worker, so that few chunks are read by two workers.
    first, last = (
        len(split.validation) * rank // process_group.world_size
        for rank in (process_group.rank, process_group.rank + 1)
    )
    rows = split.validation[first:last]
    if len(rows) <= n_cacheable:
        return partial(split_batch, reader.read(rows))
    window_rows = config.shuffle_window_chunks * reader.store.chunk_rows
    return partial(stream_batches, reader.read, rows, window_rows, config.prefetch_windows)


def _read_source_ids(store: Store, rows: RowIndices) -> list[str]:
    """Return the source of each row."""
    return store.ledger(["source_id"])["source_id"].take(pa.array(rows)).to_pylist()
