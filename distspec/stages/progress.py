"""How far a stage is: a bar on a terminal, a line of log now and then elsewhere, and metrics."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from tqdm import tqdm

from distspec.stages.metrics import (
    EPOCH_LOSS,
    ITEMS_DONE,
    ITEMS_QUEUED,
    LEARNING_RATE,
    increment_counter,
    set_gauge,
)
from distspec.training.state import EpochMetrics

log = logging.getLogger("distspec")
POLL_SECONDS = 0.5
LOG_INTERVAL_SECONDS = 30.0
"""Seconds from one line of log to the next."""
Item = TypeVar("Item")


class Progress:
    """How far a stage is, of `total` units; a context manager."""

    def __init__(self, stage: str, total: int, unit: str) -> None:
        self.stage, self.total, self.unit = stage, total, unit
        self.n_done = 0
        self._began = self._said = time.monotonic()
        self._bar: Any = tqdm(total=total, desc=stage, unit=unit, disable=None)

    def __enter__(self) -> Progress:
        self._report_remaining()
        return self

    def __exit__(self, *error: object) -> None:
        """Leave no queue behind that nobody is at."""
        self._bar.close()
        set_gauge(ITEMS_QUEUED, 0.0, stage=self.stage, unit=self.unit)

    def advance(self, n: int, message: str = "") -> None:
        """Say that `n` more are done, and a word about it."""
        self.n_done += n
        self._bar.set_postfix_str(message, refresh=False)
        self._bar.update(n)
        increment_counter(ITEMS_DONE, n, stage=self.stage, unit=self.unit)
        self._report_remaining()
        now = time.monotonic()
        if self._bar.disable and now - self._said >= LOG_INTERVAL_SECONDS:
            self._said = now
            log.info(
                format_progress(self.stage, self.n_done, self.total, self.unit, now - self._began, message)
            )

    def track(self, items: Iterable[Item], size: Callable[[Item], int] = lambda _: 1) -> Iterator[Item]:
        """Yield items, each of which is so many units."""
        with self:
            for item in items:
                self.advance(size(item))
                yield item

    def _report_remaining(self) -> None:
        set_gauge(ITEMS_QUEUED, self.total - self.n_done, stage=self.stage, unit=self.unit)


def format_progress(
    stage: str, n_done: int, total: int, unit: str, elapsed_seconds: float, message: str = ""
) -> str:
    """Return how far a stage is, in a line.

    Examples
    --------
    >>> line("ingest", 12_000, 100_000, "spectrum", 25.0)
    'ingest     12,000 of 100,000 (spectrum), 480 a second, 3 min to go'
    >>> line("train", 2, 40, "epoch", 30.0, "validation 212.07")
    'train      2 of 40 (epoch), 4 a minute, 10 min to go; validation 212.07'
    """
    rate = n_done / max(elapsed_seconds, 1e-9)
    pace = f"{rate:,.0f} a second" if rate >= 10 else f"{60 * rate:,.0f} a minute"
    left = (total - n_done) / rate if n_done else float("inf")
    to_go = (
        f"{left:.0f} s" if left < 90 else f"{left / 60:.0f} min" if left < 5400 else f"{left / 3600:.1f} h"
    )
    said = f"{stage:10} {n_done:,} of {total:,} ({unit}), {pace}, {to_go} to go"
    return f"{said}; {message}" if message else said


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class ProgressActor:
    """Where a far process posts what it has done; one that dies is empty until the next post."""

    def __init__(self) -> None:
        self.state: tuple[int, EpochMetrics] = (0, {})

    def update(self, n_done: int, losses: EpochMetrics) -> None:
        """Say how many epochs are done, and the row of the last one."""
        self.state = (n_done, losses)

    def read(self) -> tuple[int, EpochMetrics]:
        """Return what was posted last."""
        return self.state


@contextmanager
def show_progress(total: int, stage: str, unit: str) -> Generator[Any]:
    """Yield a `ProgressActor`, and show what is posted on it until the block ends."""
    # On this machine: another may be lost.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    board: Any = ProgressActor.options(scheduling_strategy=here).remote()
    over = threading.Event()
    with Progress(stage, total, unit) as progress:

        def refresh() -> None:
            done, row = ray.get(board.read.remote())
            if done <= progress.n_done:
                return
            for term, value in row.items():
                if term.startswith(("train_", "val_")):
                    set_gauge(EPOCH_LOSS, value, term=term)
            set_gauge(LEARNING_RATE, row["lr"])
            progress.advance(done - progress.n_done, f"validation {row['val_recon']:.2f}")

        def watch() -> None:
            while not over.wait(POLL_SECONDS):
                refresh()

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield board
        finally:
            over.set()
            watcher.join()
        refresh()
