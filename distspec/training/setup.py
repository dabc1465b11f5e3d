"""What a worker trains with, out of the store: which rows, held on the device or streamed. No Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
from torch import Tensor

from distspec.models.vae import Batch, SpectrumVAE
from distspec.store.splits import in_validation, repeats
from distspec.store.store import Store
from distspec.training.checkpoint import Keeper
from distspec.training.config import TrainingConfig
from distspec.training.data import Cached, Feed, Reader, Streamed, slices, sweep
from distspec.training.distributed import Team
from distspec.training.sampler import Dealt, Deck, Rows, Shuffling, Whole, sample
from distspec.training.state import Row
from distspec.training.trainer import Work

PREPARED_ON = 16_384
"""Training spectra from which the model takes its scales before the first step."""


@dataclass(frozen=True)
class Split:
    """Rows to train on, those held out, and in words what was adapted to a small sample."""

    train: Rows
    held_out: Rows
    adapted: list[str]


MAX_REPEATS = 4096
"""Sources seen twice, at most, that say how wide posteriors must be."""


def repeated_rows(store: Store) -> Rows:
    """Return two rows that stand of each source that was observed more than once, (n, 2)."""
    standing = store.standing()
    sources = store.ledger(["source_id"])["source_id"].take(pa.array(standing)).to_pylist()
    return standing[repeats(sources)][:MAX_REPEATS]


def split_rows(store: Store, training: TrainingConfig) -> Split:
    """Split the spectra that stand, by their sources.

    Raises
    ------
    ValueError
        When fewer than two spectra a worker are left to train on.
    """
    standing = store.standing()
    sources = store.ledger(["source_id"])["source_id"].take(pa.array(standing)).to_pylist()
    held_out = in_validation(sources, training.validation_share)
    train_rows, validation_rows = standing[~held_out], standing[held_out]
    adapted: list[str] = []
    if len(validation_rows) < training.workers or len(train_rows) < 2 * training.workers:
        adapted.append(
            f"trained and validated on the same {len(standing)} spectra: too few sources to hold some out"
        )
        train_rows = validation_rows = standing
    if len(train_rows) < 2 * training.workers:
        raise ValueError(
            f"{store.url} holds {store.n_rows} spectra: training needs 2 a worker; "
            "relax the selection (--archive.*) or look into the quarantine"
        )
    if len(train_rows) < training.batch_size:
        adapted.append(
            f"batches of {len(train_rows)} spectra instead of {training.batch_size}: there are no more"
        )
    return Split(train_rows, validation_rows, adapted)


def provide(
    store: Store,
    split: Split,
    training: TrainingConfig,
    seed: int,
    team: Team,
    checkpoints: str,
    called_away: Callable[[], bool],
    on_epoch: Callable[[Row], Any],
    weights: Mapping[str, Tensor] | None = None,
) -> Work:
    """Return what one worker trains with: held on the device where all spectra fit, else streamed.

    Parameters
    ----------
    store : Store
        The state that is trained on, the same for all workers.
    split : Split
    training : TrainingConfig
    seed : int
    team : Team
    checkpoints : URL of their folder; empty: none are kept
    called_away : see `distspec.training.checkpoint.Keeper`
    on_epoch : takes each epoch's row of the history
    weights : those to start from; None: new ones, with scales from a sample of the spectra
    """
    reader = Reader(store, team.device)
    deck = Deck(split.train, min(training.batch_size, len(split.train)), seed)
    fitting = int(training.cache_mb * 1e6 / (8 * store.frozen.grid.n_pixels))
    shuffling: Shuffling
    feed: Feed
    if len(split.train) <= fitting:
        shuffling, feed = Whole(deck), Cached(split.train, reader.read(split.train), team.rank)
        fitting -= len(split.train)
    else:
        shuffling = Dealt(deck, store.chunk_rows, training.window)
        feed = Streamed(reader.read, team.rank, training.prefetch)
    # Neighbouring rows to the same worker: few chunks are read twice.
    first, last = (len(split.held_out) * at // team.size for at in (team.rank, team.rank + 1))
    mine, window = split.held_out[first:last], training.window * store.chunk_rows
    validation: Callable[[], Iterator[Batch]] = partial(sweep, reader.read, mine, window, training.prefetch)
    if len(mine) <= fitting:
        validation = partial(slices, reader.read(mine))

    def begin(vae: SpectrumVAE) -> None:
        if weights is None:
            vae.prepare(reader.read(sample(deck, store.chunk_rows, PREPARED_ON)))
        else:
            vae.load_state_dict(weights)

    return Work(
        config=training,
        team=team,
        shuffling=shuffling,
        feed=feed,
        validation=validation,
        begin=begin,
        read=reader.read,
        names=lambda rows: store.ledger(["object_id"])["object_id"].take(pa.array(rows)).to_pylist(),
        keeper=Keeper(
            checkpoints, shuffling, team, training.checkpoint_minutes, training.checkpoint_steps, called_away
        ),
        on_epoch=on_epoch,
    )
