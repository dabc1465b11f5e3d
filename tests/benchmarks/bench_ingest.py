"""Ingest of 20,000 spectra from local disk into a new store, from listing to last commit.

`distspec.stages.ingest.ingest` on Ray with one CPU, one worker beside the driver, which commits, is compared
with a loop over the same functions in one process; the goal is a ratio of at least 0.85. Each of 500 files of
43 kB is read forty times from the page cache. Workers are started before anything is timed.
"""

from __future__ import annotations

from distspec.ingest.source import ArchiveSource
from distspec.stages.ingest import ingest
from tests.benchmarks.archive import (
    RepeatedArchive,
    ingest_without_ray,
    local_ray,
    new_roots,
    simulated_files,
)
from tests.benchmarks.timing import Row, rate_row, time_pair

N_FILES, N_SPECTRA = 500, 20_000


def run() -> list[Row]:
    with simulated_files(N_FILES) as files, local_ray(), new_roots() as new_root:
        source = ArchiveSource(RepeatedArchive(files, N_SPECTRA))
        on_ray, in_process = time_pair(
            lambda: ingest(new_root(), source), lambda: ingest_without_ray(new_root(), source)
        )
    reference = rate_row("loop in one process", N_SPECTRA, "spectra", in_process)
    row = rate_row("ingest on Ray, one CPU (goal 0.85)", N_SPECTRA, "spectra", on_ray)
    return [row.relative_to(reference), reference]
