"""Ingest of 20,000 new spectra from local disk into a new store, catalogue to last commit.

`distspec.stages.ingest` on a Ray of one CPU (one worker beside the driver, which commits) against a bare
loop over the same functions in one process: at least 0.85. 500 files of 43 kB, forty times each, from the
page cache. Workers have started and imported before anything is timed.
"""

from __future__ import annotations

from distspec.ingest.source import ArchiveSource
from distspec.stages.ingest import ingest
from tests.benchmarks.archive import Repeated, fresh_roots, ingest_here, local_ray, written
from tests.benchmarks.timing import Row, paired, rate

N_FILES, N_SPECTRA = 500, 20_000


def run() -> list[Row]:
    with written(N_FILES) as files, local_ray(), fresh_roots() as root:
        source = ArchiveSource(Repeated(files, N_SPECTRA))
        on_ray, bare = paired(lambda: ingest(root(), source), lambda: ingest_here(root(), source))
    loop = rate("bare loop, one process", N_SPECTRA, "spectra", bare)
    return [
        rate("ingest on Ray, one CPU (goal 0.85)", N_SPECTRA, "spectra", on_ray).run_null_test(loop),
        loop,
    ]
