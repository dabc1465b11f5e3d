"""Ingest that was killed, lost tasks or filled the disk gives the undisturbed result when it is run again."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import ray

from distspec.archives.base import SpectrumEntry
from distspec.archives.dja import DJA
from distspec.core.errors import ArchiveError, QuarantineReason, StorageError
from distspec.core.spectrum import Spectrum
from distspec.io.files import read_json, write_json
from distspec.io.lease import hold_lease
from distspec.io.paths import store_url
from distspec.io.remote.files import ArchiveFile
from distspec.stages import ingest as ingest_module
from distspec.stages import load as load_module
from distspec.stages.ingest import ingest
from distspec.store.store import open_store
from distspec.store.verify import verify_store
from tests.growth.archives import SELECT_ALL
from tests.growth.conftest import (
    BAD_FILES,
    Undisturbed,
    concurrent_reader,
    list_quarantine,
    run_driver,
)
from tests.growth.driver import POINTS, POINTS_ONCE_PER_RUN, killed_source

FAST_POINTS = [("forks written", 1)]  # tests/ingest/test_commit.py ends a run before its first commit too
SLOW_POINTS = [
    pytest.param(point, number, marks=pytest.mark.slow)
    for point in POINTS
    for number in ((0,) if point in POINTS_ONCE_PER_RUN else (0, 1, 2))
    if (point, number) not in FAST_POINTS and point != "none"
]


@pytest.mark.parametrize(("point", "number"), [*FAST_POINTS, *SLOW_POINTS])
def test_an_ingest_that_was_killed_is_completed(
    undisturbed: Undisturbed, tmp_path, point, number, small_chunks
):
    root = str(tmp_path)
    with concurrent_reader(root):
        ended = run_driver(root, undisturbed.folder, point, number)
        assert ended.returncode == -signal.SIGKILL, ended.stderr[-2000:]
        with hold_lease(root, "ingest") as lease:
            assert lease.token == 2, "the lease of a dead process is taken over at once"
            ingest(root, killed_source(undisturbed.folder), lease)
    undisturbed.assert_same(root)


def die_once(marker: str) -> None:
    """End this process, unless the marker file exists; create it."""
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    os._exit(1)


def make_dying(task: Any, marker: str) -> Callable[..., Any]:
    """Return the function of a task that once ends its worker after its work, without a result."""
    function = task._function

    def die_after(*args: Any) -> Any:
        result = function(*args)
        die_once(marker)
        return result

    return die_after


@pytest.mark.parametrize(
    ("module", "task", "n_returns"),
    [
        (ingest_module, "write_chunks_task", 1),
        pytest.param(load_module, "load_batch_task", 2, marks=pytest.mark.slow),
    ],
)
def test_task_that_dies_after_writing_is_repeated(
    undisturbed: Undisturbed, tmp_path, monkeypatch, small_chunks, module, task, n_returns
):
    root, marker = str(tmp_path / "root"), str(tmp_path / "died")
    dying_task = ray.remote(num_cpus=1, num_returns=n_returns)(make_dying(getattr(module, task), marker))
    monkeypatch.setattr(module, task, dying_task)
    ingest(root, killed_source(undisturbed.folder))
    assert Path(marker).exists(), "the task died"
    undisturbed.assert_same(root)


@dataclass(frozen=True)
class CrashingArchive(DJA):
    """The DJA with a file that ends the process that reads it, as a fault in a C library would."""

    fatal: str = ""

    async def read(self, entry: SpectrumEntry, file: ArchiveFile) -> Spectrum:
        if entry.object_id == self.fatal:
            os._exit(1)
        return await super().read(entry, file)


@pytest.mark.slow
def test_only_the_file_that_crashes_workers_is_quarantined(undisturbed: Undisturbed, tmp_path, small_chunks):
    root, healthy = str(tmp_path), killed_source(undisturbed.folder, files_per_task=2)
    names = sorted(healthy.archive.list_spectra()["object_id"].to_pylist())
    fatal = names[60]
    crashing = CrashingArchive(healthy.archive.catalog, healthy.archive.url, **SELECT_ALL, fatal=fatal)
    ingest(root, replace(healthy, archive=crashing))
    store, problems = verify_store(root)
    assert problems == []
    assert store.n_rows == len(names) - len(BAD_FILES) - 1
    crashed = [row for row in list_quarantine(store) if row["reason"] == QuarantineReason.CRASHED]
    assert [row["object_id"] for row in crashed] == [fatal]
    assert "Worker" in crashed[0]["detail"]
    # After the fault is repaired, `distspec retry` reads the file again.
    ingest(root, healthy, retry_transient=True)
    assert open_store(store_url(root)).n_rows == len(names) - len(BAD_FILES)
    assert list_quarantine(open_store(store_url(root))) == undisturbed.quarantine


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_an_error_without_a_partial_commit(undisturbed: Undisturbed, small_disk, small_chunks):
    root = str(small_disk / "root")
    (small_disk / "ballast").write_bytes(b"x" * 600_000)
    full = pytest.raises(StorageError, match=r"could not be written \(.*No space left")
    with concurrent_reader(root) as n_rows, full:
        ingest(root, killed_source(undisturbed.folder))
    n = open_store(store_url(root)).n_rows
    assert n_rows[-1] == n
    assert verify_store(root)[1] == []
    (small_disk / "ballast").unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    ingest(root, killed_source(undisturbed.folder))
    assert open_store(store_url(root)).n_rows > n
    undisturbed.assert_same(root)


def test_failed_write_on_a_full_disk_keeps_the_old_record(small_disk):
    url = str(small_disk / "record.json")
    write_json(url, {"n": 1})
    with pytest.raises(OSError, match="No space left"):
        write_json(url, {"n": "x" * 2_000_000})
    assert read_json(url) == {"n": 1}
    assert [path.name for path in small_disk.iterdir()] == ["record.json"], "no temporary file is left"


def test_many_bad_files_fail_a_run_and_one_does_not(undisturbed: Undisturbed, tmp_path, small_chunks):
    root, whole = str(tmp_path / "root"), killed_source(undisturbed.folder)
    lines = (undisturbed.folder / "catalog.csv").read_text().splitlines(keepends=True)
    catalog = tmp_path / "catalog.csv"
    archive = replace(whole.archive, catalog=str(catalog))

    def write_catalog(n_missing: int) -> None:
        missing = [lines[1].replace(".spec.fits", f"{i}.spec.fits") for i in range(n_missing)]
        catalog.write_text("".join([*lines[:21], *missing]))

    write_catalog(0)
    ingest(root, replace(whole, archive=archive))
    write_catalog(1)
    assert ingest(root, replace(whole, archive=archive)).summary["quarantined"] == 1
    assert ingest(root, replace(whole, archive=archive), retry_transient=True).summary["stored"] == 0
    write_catalog(30)
    one_batch = replace(whole, archive=archive, config=replace(whole.config, task_mb=1e3))
    with pytest.raises(ArchiveError, match=r"seems to be down|more than ingest\.max_bad_share"):
        ingest(root, one_batch)
