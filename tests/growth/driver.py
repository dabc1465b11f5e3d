"""Ingest that is killed by SIGKILL at some point: ``python -m tests.growth.driver ROOT FOLDER POINT NUMBER``.

POINT is a key of `POINTS`, and NUMBER counts commits of rows; with POINT ``none`` the ingest is not killed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import icechunk

from distspec.archives.dja import DJA
from distspec.ingest.commit import Committer
from distspec.ingest.source import ArchiveSource
from distspec.io.lease import hold_lease
from distspec.stages import ingest as ingest_module
from distspec.stages.config import RayConfig
from distspec.stages.ingest import RayWriter, ingest
from distspec.stages.session import ray_session
from distspec.store import store as store_module
from distspec.store.transactions import Transaction
from tests.growth.archives import SELECT_ALL, make_source

CHUNK_ROWS = 16
COMMIT_ROWS = 32


def killed_source(folder: Path | str, files_per_task: int = 5, **config: Any) -> ArchiveSource:
    """Return the source that is ingested, with a commit every 32 rows."""
    archive = DJA(f"{folder}/catalog.csv", str(folder), **SELECT_ALL)
    task_mb = (files_per_task + 0.5) * archive.spectrum_bytes / 1e6
    return make_source(archive, task_mb=task_mb, commit_rows=COMMIT_ROWS, **config)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def patch(owner: Any, name: str, number: int, before: Callable[[], None], after: Callable[[], None]) -> None:
    """Have functions called before and after one call of a function or method, counted from 0."""
    original, calls = getattr(owner, name), iter(range(10**6))

    def patched(*args: Any, **kwargs: Any) -> Any:
        is_chosen = next(calls) == number
        if is_chosen:
            before()
        result = original(*args, **kwargs)
        if is_chosen:
            after()
        return result

    setattr(owner, name, patched)


def nothing() -> None:
    pass


def die_after_ms(milliseconds: float) -> Callable[[], None]:
    return lambda: threading.Timer(milliseconds / 1000.0, die).start()


# The first commit of a session creates the store; commits of rows come after it.
POINTS: dict[str, Callable[[int], None]] = {
    "none": lambda n: None,
    "store begun": lambda n: patch(icechunk.Session, "commit", 0, die, nothing),
    "store being committed": lambda n: patch(icechunk.Session, "commit", 0, die_after_ms(2), die),
    "store created": lambda n: patch(ingest_module, "create_store", 0, nothing, die),
    "before the session": lambda n: patch(Transaction, "__init__", n, die, nothing),
    "forks being written": lambda n: patch(RayWriter, "write_chunks", n, die_after_ms(30), die),
    "forks written": lambda n: patch(icechunk.Session, "merge", n, die, nothing),
    "forks merged": lambda n: patch(icechunk.Session, "merge", n, nothing, die),
    "before the commit": lambda n: patch(Transaction, "commit", n, die, nothing),
    "1 ms into the commit": lambda n: patch(icechunk.Session, "commit", n + 1, die_after_ms(1), die),
    "4 ms into the commit": lambda n: patch(icechunk.Session, "commit", n + 1, die_after_ms(4), die),
    "12 ms into the commit": lambda n: patch(icechunk.Session, "commit", n + 1, die_after_ms(12), die),
    "after the commit": lambda n: patch(icechunk.Session, "commit", n + 1, nothing, die),
    "between commits": lambda n: patch(Committer, "add", 7 * n + 1, nothing, die),
    "at the end": lambda n: patch(Committer, "finish", 0, nothing, die),
}
POINTS_ONCE_PER_RUN = {"none", "store begun", "store being committed", "store created", "at the end"}
"""Points that a run passes once; it passes the others at each commit of rows."""


def main(root: str, folder: str, point: str, number: str) -> None:
    store_module.CHUNK_BYTES = 4 * 48 * CHUNK_ROWS
    POINTS[point](int(number))
    # Tasks need the settings of the server on which the store is.
    server = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    with hold_lease(root, "ingest") as lease, ray_session(RayConfig(), server):
        # One worker starts faster than two.
        print(ingest(root, killed_source(folder, in_flight=1), lease))


if __name__ == "__main__":
    main(*sys.argv[1:])
