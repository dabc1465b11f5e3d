"""Progress of a stage: a bar on a terminal, lines in the log elsewhere, and metrics for Prometheus."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
from distspec.training.record import EpochMetrics

log = logging.getLogger("distspec")
POLL_SECONDS = 0.5
"""Interval at which the progress of a remote process is read [s]."""
LOG_INTERVAL_SECONDS = 30.0
"""Shortest interval between two lines in the log [s]."""
Item = TypeVar("Item")


class Progress:
    """Progress of a stage; a context manager.

    Parameters
    ----------
    stage : str
        Name of the stage.
    total : int
        Number of items.
    unit : str
        Name of an item.
    """

    def __init__(self, stage: str, total: int, unit: str) -> None:
        self.stage, self.total, self.unit = stage, total, unit
        self.n_done = 0
        self._started = self._last_logged = time.monotonic()
        self._bar: Any = tqdm(total=total, desc=stage, unit=unit, disable=None)

    def __enter__(self) -> Progress:
        self._report_remaining()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()
        set_gauge(ITEMS_QUEUED, 0.0, stage=self.stage, unit=self.unit)

    def advance(self, n: int, message: str = "") -> None:
        """Report items as done.

        Parameters
        ----------
        n : int
            Number of items since the last call.
        message : str
            Text to show with the progress.
        """
        self.n_done += n
        self._bar.set_postfix_str(message, refresh=False)
        self._bar.update(n)
        increment_counter(ITEMS_DONE, n, stage=self.stage, unit=self.unit)
        self._report_remaining()
        now = time.monotonic()
        if self._bar.disable and now - self._last_logged >= LOG_INTERVAL_SECONDS:
            self._last_logged = now
            elapsed = now - self._started
            log.info(format_progress(self.stage, self.n_done, self.total, self.unit, elapsed, message))

    def track(self, items: Iterable[Item], size: Callable[[Item], int] = lambda _: 1) -> Iterator[Item]:
        """Yield items, and report each as done when it is yielded.

        Parameters
        ----------
        items : iterable
            What to yield.
        size : callable
            Returns the number of units of an item.
        """
        with self:
            for item in items:
                self.advance(size(item))
                yield item

    def _report_remaining(self) -> None:
        set_gauge(ITEMS_QUEUED, self.total - self.n_done, stage=self.stage, unit=self.unit)


def format_progress(
    stage: str, n_done: int, total: int, unit: str, elapsed_seconds: float, message: str = ""
) -> str:
    """Return the progress of a stage as one line.

    Parameters
    ----------
    stage : str
        Name of the stage.
    n_done, total : int
        Numbers of items.
    unit : str
        Name of an item.
    elapsed_seconds : float
        Time since the start [s].
    message : str
        Text to append.

    Examples
    --------
    >>> format_progress("ingest", 12_000, 100_000, "spectrum", 25.0)
    'ingest     12,000 of 100,000 (spectrum), 480 per second, 3 min left'
    >>> format_progress("train", 2, 40, "epoch", 30.0, "validation 212.07")
    'train      2 of 40 (epoch), 4 per minute, 10 min left; validation 212.07'
    """
    rate = n_done / max(elapsed_seconds, 1e-9)
    pace = f"{rate:,.0f} per second" if rate >= 10 else f"{60 * rate:,.0f} per minute"
    left = _format_duration((total - n_done) / rate if n_done else float("inf"))
    line = f"{stage:10} {n_done:,} of {total:,} ({unit}), {pace}, {left} left"
    return f"{line}; {message}" if message else line


def _format_duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@dataclass(frozen=True)
class ProgressUpdate:
    """Number of epochs that are done, and the metrics of the last one; None before the first.

    Attributes
    ----------
    n_done : int
        Number of completed epochs.
    metrics : EpochMetrics or None
        Losses of the last completed epoch; None before the first.
    """

    n_done: int = 0
    metrics: EpochMetrics | None = None


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class ProgressActor:
    """Holds the last progress of a remote process; after a restart it is empty until the next update."""

    def __init__(self) -> None:
        self._last = ProgressUpdate()

    def update(self, n_done: int, metrics: EpochMetrics) -> None:
        """Set the number of epochs that are done, and the metrics of the last one."""
        self._last = ProgressUpdate(n_done, metrics)

    def read(self) -> ProgressUpdate:
        """Return the last update."""
        return self._last


@contextmanager
def show_progress(total: int, stage: str, unit: str) -> Generator[Any]:
    """Show the progress of a remote process while the block lasts.

    Parameters
    ----------
    total : int
        Number of items.
    stage : str
        Name of the stage.
    unit : str
        Name of an item.

    Yields
    ------
    ActorHandle
        Handle of a `ProgressActor`, which the remote process updates.
    """
    # On the driver's node: other nodes may be lost.
    node = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor: Any = ProgressActor.options(scheduling_strategy=node).remote()
    finished = threading.Event()
    with Progress(stage, total, unit) as progress:

        def refresh() -> None:
            last: ProgressUpdate = ray.get(actor.read.remote())
            if last.metrics is None or last.n_done <= progress.n_done:
                return
            for term, value in last.metrics.to_row().items():
                if term.startswith(("train_", "val_")):
                    set_gauge(EPOCH_LOSS, value, term=term)
            set_gauge(LEARNING_RATE, last.metrics.learning_rate)
            message = f"validation {last.metrics.validation['recon']:.2f}"
            progress.advance(last.n_done - progress.n_done, message)

        def poll() -> None:
            while not finished.wait(POLL_SECONDS):
                refresh()

        watcher = threading.Thread(target=poll, daemon=True)
        watcher.start()
        try:
            yield actor
        finally:
            finished.set()
            watcher.join()
        refresh()
