"""What a worker trains with, out of the store: which rows, held on the device or streamed. No Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
from torch import Tensor

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
from distspec.training.sampler import (
    GlobalSampler,
    RowIndices,
    Sampler,
    SampleSpec,
    ShardedSampler,
    sample_rows,
)
from distspec.training.state import EpochMetrics
from distspec.training.trainer import Trainer

N_INIT_SPECTRA = 16_384
"""Training spectra from which the model takes its scales before the first step."""


@dataclass(frozen=True)
class TrainValidationSplit:
    """Rows to train on, those held out, and in words what was adapted to a small sample."""

    train: RowIndices
    validation: RowIndices
    adaptations: list[str]


MAX_REPEAT_PAIRS = 4096
"""Sources seen twice, at most, that say how wide posteriors must be."""


def read_repeat_rows(store: Store) -> RowIndices:
    """Return two rows that stand of each source that was observed more than once, (n, 2)."""
    standing = store.current_rows()
    sources = store.ledger(["source_id"])["source_id"].take(pa.array(standing)).to_pylist()
    return standing[find_repeat_pairs(sources)][:MAX_REPEAT_PAIRS]


def split_rows(store: Store, training_config: TrainingConfig) -> TrainValidationSplit:
    """Split the spectra that stand, by their sources.

    Raises
    ------
    ValueError
        When fewer than two spectra a worker are left to train on.
    """
    standing = store.current_rows()
    sources = store.ledger(["source_id"])["source_id"].take(pa.array(standing)).to_pylist()
    held_out = is_validation(sources, training_config.validation_fraction)
    train_rows, validation_rows = standing[~held_out], standing[held_out]
    adapted: list[str] = []
    if len(validation_rows) < training_config.workers or len(train_rows) < 2 * training_config.workers:
        adapted.append(
            f"trained and validated on the same {len(standing)} spectra: too few sources to hold some out"
        )
        train_rows = validation_rows = standing
    if len(train_rows) < 2 * training_config.workers:
        raise ValueError(
            f"{store.url} holds {store.n_rows} spectra: training needs 2 a worker; "
            "relax the selection (--archive.*) or look into the quarantine"
        )
    if len(train_rows) < training_config.batch_size:
        adapted.append(
            f"batches of {len(train_rows)} spectra instead of {training_config.batch_size}: there are no more"
        )
    return TrainValidationSplit(train_rows, validation_rows, adapted)


def build_trainer(
    store: Store,
    split: TrainValidationSplit,
    training_config: TrainingConfig,
    seed: int,
    process_group: ProcessGroup,
    checkpoints_url: str,
    is_preempted: Callable[[], bool],
    on_epoch_end: Callable[[EpochMetrics], Any],
    state_dict: Mapping[str, Tensor] | None = None,
) -> Trainer:
    """Return what one worker trains with: held on the device where all spectra fit, else streamed.

    Parameters
    ----------
    store : Store
        The state that is trained on, the same for all workers.
    split : Split
    training_config : TrainingConfig
    seed : int
    process_group : Team
    checkpoints_url : URL of their folder; empty: none are kept
    is_preempted : see `distspec.training.checkpoint.CheckpointManager`
    on_epoch_end : takes each epoch's row of the history
    state_dict : those to start from; None: new ones, with scales from a sample of the spectra
    """
    reader = StoreReader(store, process_group.device)
    deck = SampleSpec(split.train, min(training_config.batch_size, len(split.train)), seed)
    fitting = int(training_config.cache_mb * 1e6 / (8 * store.config.grid.n_pixels))
    shuffling: Sampler
    feed: BatchLoader
    if len(split.train) <= fitting:
        shuffling, feed = (
            GlobalSampler(deck),
            CachedLoader(split.train, reader.read(split.train), process_group.rank),
        )
        fitting -= len(split.train)
    else:
        shuffling = ShardedSampler(deck, store.chunk_rows, training_config.shuffle_window_chunks)
        feed = StreamingLoader(reader.read, process_group.rank, training_config.prefetch_windows)
    # Neighbouring rows to the same worker: few chunks are read twice.
    first, last = (
        len(split.validation) * at // process_group.world_size
        for at in (process_group.rank, process_group.rank + 1)
    )
    mine, window = split.validation[first:last], training_config.shuffle_window_chunks * store.chunk_rows
    validation: Callable[[], Iterator[Batch]] = partial(
        stream_batches, reader.read, mine, window, training_config.prefetch_windows
    )
    if len(mine) <= fitting:
        validation = partial(split_batch, reader.read(mine))

    def begin(vae: SpectrumVAE) -> None:
        if state_dict is None:
            vae.initialize_from_sample(reader.read(sample_rows(deck, store.chunk_rows, N_INIT_SPECTRA)))
        else:
            vae.load_state_dict(state_dict)

    return Trainer(
        config=training_config,
        process_group=process_group,
        sampler=shuffling,
        train_loader=feed,
        validation_batches=validation,
        initialize_model=begin,
        read_rows=reader.read,
        read_object_ids=lambda rows: (
            store.ledger(["object_id"])["object_id"].take(pa.array(rows)).to_pylist()
        ),
        checkpoint_manager=CheckpointManager(
            checkpoints_url,
            shuffling,
            process_group,
            training_config.checkpoint_interval_minutes,
            training_config.checkpoint_interval_steps,
            is_preempted,
        ),
        on_epoch_end=on_epoch_end,
    )
