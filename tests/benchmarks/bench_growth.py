"""Time and memory of adding spectra to a large store, 300,000 rows, compared with a small one, 10,000 rows.

Time: `distspec.stages.ingest.ingest` of 32,768 more spectra, from listing to last commit, on Ray with two
CPUs, alternately into either store on local disk; the goal is a ratio of at most 1.15. Memory: the largest
resident sets of driver and worker in new processes, on Ray with one CPU, that add those spectra and that fill
the store; the goal is at most 1.2. The spectra share 250 files of 43 kB, and the grid has 160 pixels, so that
only the number of rows is large.
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
from tests.benchmarks.archive import RepeatedArchive, local_ray, new_roots, simulated_files
from tests.benchmarks.timing import Row, time_pair

N_SMALL, N_LARGE, N_ADDED = 10_000, 300_000, 32_768
N_FILES = 250
Peaks = Mapping[str, float]
"""Largest resident sets of driver and worker [MB]."""


def run() -> list[Row]:
    with simulated_files(N_FILES) as files, new_roots() as new_root:
        stores = GrowingStore(files, new_root(), N_SMALL), GrowingStore(files, new_root(), N_LARGE)
        filling = [store.fill() for store in stores]
        adding = [store.add_in_new_process() for store in stores]
        with local_ray(cpus=2):
            small, large = (store.add for store in stores)
            large_seconds, small_seconds = time_pair(large, small)
    rows = [
        Row(
            f"1,000 spectra more at {n:,} rows{goal}", "s", tuple(1000.0 * each / N_ADDED for each in seconds)
        )
        for n, goal, seconds in ((N_LARGE, " (goal 1.15)", large_seconds), (N_SMALL, "", small_seconds))
    ]
    return [
        rows[0].relative_to(rows[1]),
        rows[1],
        *_memory_rows(f"adding {N_ADDED:,}", adding),
        *_memory_rows("filling", filling),
    ]


class GrowingStore:
    """A store with a number of rows, to which the same spectra are added again and again."""

    def __init__(self, files: DJA, root: str, n_rows: int) -> None:
        self.files, self.root, self.n_rows = files, root, n_rows
        self.filled_snapshot = ""

    def fill(self) -> Peaks:
        """Create the store in a new process, and return the peaks of memory."""
        peaks = self._ingest_in_new_process(self.n_rows)
        self.filled_snapshot = open_store(store_url(self.root)).snapshot_id
        return peaks

    def add_in_new_process(self) -> Peaks:
        """Add spectra in a new process, and return the peaks of memory."""
        return self._ingest_in_new_process(self.n_rows + N_ADDED)

    def add(self) -> None:
        """Reset the store, which takes no time, and add spectra."""
        open_repository(store_url(self.root)).reset_branch("main", self.filled_snapshot)
        ingest_up_to(self.n_rows + N_ADDED, self.files, self.root)

    def _ingest_in_new_process(self, n: int) -> Peaks:
        command = [sys.executable, "-m", "tests.benchmarks.bench_growth", self.files.url, str(n), self.root]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        return json.loads(done.stdout.splitlines()[-1])


def _memory_rows(name: str, peaks: Sequence[Peaks]) -> list[Row]:
    """Return rows with the peaks for the large and the small store."""
    rows: list[Row] = []
    for process in peaks[0]:
        small, large = (
            Row(f"{process}, {name}, {n:,} rows", "MB", (peak[process],))
            for n, peak in zip((N_SMALL, N_LARGE), peaks, strict=True)
        )
        rows += [large.relative_to(small), small]
    return rows


def ingest_up_to(n: int, files: DJA, root: str) -> None:
    """Ingest an archive of `n` spectra."""
    result = ingest(root, ArchiveSource(RepeatedArchive(files, n), grid=GridConfig(n_pixels=160)))
    assert result.did_work


def peak_memory() -> float:
    """Return the largest resident set of this process [MB]."""
    # The value of getrusage is at least that of the process that started this one.
    status = Path("/proc/self/status").read_text()
    return float(status.partition("VmHWM:")[2].split()[0]) / 1e3


def main(url: str, n: str, root: str) -> None:
    """Ingest, and print the peaks of memory as JSON."""
    with local_ray():
        ingest_up_to(int(n), DJA(catalog=f"{url}/catalog.csv", url=url), root)
        worker = ray.get(ray.remote(num_cpus=1)(peak_memory).remote())
    print(json.dumps({"driver": peak_memory(), "worker": worker}))


if __name__ == "__main__":
    main(*sys.argv[1:])
