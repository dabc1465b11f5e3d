"""Ingest of about 1,000 new files from local disk into a new store, catalogue to last commit.

`distspec.stages.ingest` on a Ray of one CPU (one worker beside the driver, which commits) against a plain
loop over the same functions in one process. Workers have started and imported before anything is timed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from distspec.archives.dja import DJA
from distspec.ingestion import Committer, IngestConfig, entries, freeze, load, missing, pilot, read, split
from distspec.places import store_url
from distspec.preprocessing import GridConfig, NormConfig
from distspec.stages.ingest import ingest
from distspec.stages.session import RayConfig, session
from distspec.store import create_store
from tests.benchmarks.archive import written
from tests.benchmarks.timing import Row, paired, rate

N_FILES, REPEATS = 1080, 5
GRID, NORM, INGEST = GridConfig(), NormConfig(), IngestConfig()


def run() -> list[Row]:
    with written(N_FILES) as archive, _local_ray(), _fresh_roots() as root:
        n = len(archive.list())
        on_ray, bare = paired(
            lambda: ingest(root(), archive, GRID, NORM, INGEST), lambda: _bare(root(), archive), REPEATS
        )
    loop = rate("plain loop, one process", n, "spectra", bare)
    return [rate(f"ingest of {n:,} on Ray, one CPU", n, "spectra", on_ray).against(loop), loop]


def _bare(root: str, archive: DJA) -> None:
    """Do what the stage does, without Ray."""
    listing = missing(archive.list(), None)
    sample, _, _ = read(archive, pilot(listing))
    frozen = freeze(sample, listing["z"].to_numpy(), GRID, NORM)
    committer = Committer(create_store(store_url(root), frozen), listing, INGEST.commit_rows)
    for batch in split(entries(listing), INGEST.batch_size):
        committer.add(load(archive, batch, frozen.grid, NORM, frozen.sample_slope))
    committer.commit()


@contextmanager
def _local_ray() -> Generator[None]:
    """A Ray of our own, in a folder with a short path for its sockets."""
    with (
        tempfile.TemporaryDirectory(prefix="ds-", dir="/tmp", ignore_cleanup_errors=True) as folder,
        session(RayConfig(address="local", cpus=1, temp_dir=folder)),
    ):
        yield


@contextmanager
def _fresh_roots() -> Generator[Callable[[], str]]:
    """Yield what names a new root at every call."""
    with tempfile.TemporaryDirectory(prefix="ds-") as folder:
        numbers = count()
        yield lambda: str(Path(folder) / str(next(numbers)))
