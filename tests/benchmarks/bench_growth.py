"""Does a store that has grown cost more to grow? 300,000 rows against 10,000, on local disk.

Time: `distspec.stages.ingest` of a further 32,768 spectra on a Ray of two CPUs, listing to last commit,
alternately into the one and the other: at most 1.15. Memory: the largest resident sets of driver and worker
in fresh processes, Ray of one CPU, that add those 32,768, and that fill the store: at most 1.2. 250 files of
43 kB come round and round, and the grid has 160 pixels: only the numbers of rows are large.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import ray

from distspec.archives.dja import DJA
from distspec.ingest.source import ArchiveSource
from distspec.io.paths import store_url
from distspec.preprocessing.resampling import GridConfig
from distspec.stages.ingest import ingest
from distspec.store.store import open_repository, open_store
from tests.benchmarks.archive import Repeated, fresh_roots, local_ray, written
from tests.benchmarks.timing import Row, paired

SMALL, LARGE, FURTHER = 10_000, 300_000, 32_768
N_FILES = 250
Peaks = Mapping[str, float]
"""Of driver and worker [MB]."""


def run() -> list[Row]:
    with written(N_FILES) as files, fresh_roots() as root:
        stores = Growing(files, root(), SMALL), Growing(files, root(), LARGE)
        filling = [store.fill() for store in stores]
        adding = [store.add_afresh() for store in stores]
        with local_ray(cpus=2):
            few, many = (store.add for store in stores)
            many_seconds, few_seconds = paired(many, few)
    rows = [
        Row(f"a further 1,000 at {n:,} rows{goal}", "s", tuple(1000.0 * each / FURTHER for each in seconds))
        for n, goal, seconds in ((LARGE, " (goal 1.15)", many_seconds), (SMALL, "", few_seconds))
    ]
    return [
        rows[0].run_null_test(rows[1]),
        rows[1],
        *_memory(f"adding {FURTHER:,}", adding),
        *_memory("first run", filling),
    ]


class Growing:
    """A store of `n` rows, to which more are added again and again."""

    def __init__(self, files: DJA, root: str, n: int) -> None:
        self.files, self.root, self.n = files, root, n
        self.filled = ""

    def fill(self) -> Peaks:
        """Make it, and return the peaks of that."""
        peaks = self._afresh(self.n)
        self.filled = open_store(store_url(self.root)).snapshot_id
        return peaks

    def add_afresh(self) -> Peaks:
        """Add what there is to add in a fresh process, and return its peaks."""
        return self._afresh(self.n + FURTHER)

    def add(self) -> None:
        """Take out what was added, which takes no time, and add it again."""
        open_repository(store_url(self.root)).reset_branch("main", self.filled)
        ingest_up_to(self.n + FURTHER, self.files, self.root)

    def _afresh(self, n: int) -> Peaks:
        command = [sys.executable, "-m", "tests.benchmarks.bench_growth", self.files.url, str(n), self.root]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        return json.loads(done.stdout.splitlines()[-1])


def _memory(what: str, peaks: Sequence[Peaks]) -> list[Row]:
    """Return rows of the peaks at few and at many rows."""
    rows: list[Row] = []
    for process in peaks[0]:
        few, many = (
            Row(f"{process}, {what}, {n:,} rows", "MB", (peak[process],))
            for n, peak in zip((SMALL, LARGE), peaks, strict=True)
        )
        many = many.run_null_test(few)
        rows += [many, few]
    return rows


def ingest_up_to(n: int, files: DJA, root: str) -> None:
    """Ingest until there are `n` rows."""
    outcome = ingest(root, ArchiveSource(Repeated(files, n), grid=GridConfig(n_pixels=160)))
    assert outcome.did_work


def peak() -> float:
    """Return this process's largest resident set so far [MB]."""
    # Not getrusage's: that begins with what the process had that started this one.
    status = Path("/proc/self/status").read_text()
    return float(status.partition("VmHWM:")[2].split()[0]) / 1e3


def main(url: str, n: str, root: str) -> None:
    """Ingest, and print the peaks as JSON."""
    with local_ray():
        ingest_up_to(int(n), DJA(catalog=f"{url}/catalog.csv", url=url), root)
        worker = ray.get(ray.remote(num_cpus=1)(peak).remote())
    print(json.dumps({"driver": peak(), "worker": worker}))


if __name__ == "__main__":
    main(*sys.argv[1:])
