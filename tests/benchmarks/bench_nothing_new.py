"""Ingest without anything new: 100,000 rows in the store, and the same spectra in the listing.

`distspec.stages.ingest.ingest` on Ray with two CPUs; the store is on local disk, and its spectra share 250
files of 43 kB. The time is compared with that of the first run, which is timed once; the goal is a ratio of
at most 0.02.
"""

from __future__ import annotations

from distspec.ingest.source import ArchiveSource
from distspec.stages.ingest import ingest
from tests.benchmarks.archive import RepeatedArchive, local_ray, new_roots, simulated_files
from tests.benchmarks.timing import Row, time_call

N_FILES, N_SPECTRA, REPEATS = 250, 100_000, 5


def run() -> list[Row]:
    with simulated_files(N_FILES) as files, local_ray(cpus=2), new_roots() as new_root:
        ingest(new_root(), ArchiveSource(RepeatedArchive(files, 1000)))  # starts the workers
        root, source = new_root(), ArchiveSource(RepeatedArchive(files, N_SPECTRA))
        first = time_call(lambda: ingest(root, source))
        again = tuple(time_call(lambda: _ingest_nothing(root, source)) for _ in range(REPEATS))
    reference = Row(f"first run, {N_SPECTRA:,} spectra", "s", (first,) * REPEATS)
    return [Row("nothing new (goal 0.02)", "s", again).relative_to(reference), reference]


def _ingest_nothing(root: str, source: ArchiveSource) -> None:
    assert not ingest(root, source).did_work
