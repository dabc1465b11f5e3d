"""A run that finds nothing new: 100,000 rows in the ledger, as many in the listing, all the same.

`distspec.stages.ingest` on a Ray of two CPUs; the store is on local disk, and the first run filled it from
250 files of 43 kB, which come round and round. Against that first run, which is timed once: at most 0.02 of
its time.
"""

from __future__ import annotations

from distspec.ingest.source import ArchiveSource
from distspec.stages.ingest import ingest
from tests.benchmarks.archive import Repeated, fresh_roots, local_ray, written
from tests.benchmarks.timing import Row, seconds

N_FILES, N_SPECTRA, REPEATS = 250, 100_000, 5


def run() -> list[Row]:
    with written(N_FILES) as files, local_ray(cpus=2), fresh_roots() as root:
        ingest(root(), ArchiveSource(Repeated(files, 1000)))  # workers start and import
        where, source = root(), ArchiveSource(Repeated(files, N_SPECTRA))
        first = seconds(lambda: ingest(where, source))
        again = tuple(seconds(lambda: _nothing(where, source)) for _ in range(REPEATS))
    fill = Row(f"first run, {N_SPECTRA:,} spectra", "s", (first,) * REPEATS)
    return [Row("nothing new (goal 0.02)", "s", again).run_null_test(fill), fill]


def _nothing(root: str, source: ArchiveSource) -> None:
    assert not ingest(root, source).did_work
