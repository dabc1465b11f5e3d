"""A progress bar here for work that runs in one far process."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from tqdm import tqdm

POLL_SECONDS = 0.5


@ray.remote(num_cpus=0)
class Board:
    """Where the far process posts how far it is and a word about it."""

    def __init__(self) -> None:
        self.state: tuple[int, str] = (0, "")

    def post(self, done: int, word: str) -> None:
        """Say how many units are done."""
        self.state = (done, word)

    def read(self) -> tuple[int, str]:
        """Return what was posted last."""
        return self.state


@contextmanager
def shown(total: int, desc: str, unit: str) -> Generator[Any]:
    """Yield a `Board`, and show on a terminal what is posted on it until the block ends."""
    # On this machine: another may be lost.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    board: Any = Board.options(scheduling_strategy=here).remote()
    over = threading.Event()
    with tqdm(total=total, desc=desc, unit=unit, disable=None) as bar:

        def refresh() -> None:
            done, word = ray.get(board.read.remote())
            bar.set_postfix_str(word, refresh=False)
            bar.update(done - bar.n)

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
