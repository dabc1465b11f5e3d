"""A run that is killed anywhere, and run again, ends as if nothing had happened; so for tasks and disks."""

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
from distspec.core.errors import QuarantineReason
from distspec.core.spectrum import Spectrum
from distspec.io.files import read_json, write_json
from distspec.io.lease import hold_lease
from distspec.io.paths import store_url
from distspec.io.remote.files import ArchiveFile
from distspec.stages import ingest as stage
from distspec.stages import load as loading
from distspec.stages.ingest import ingest
from distspec.store.store import open_store
from distspec.store.verify import verify_store
from tests.growth.archives import ALL
from tests.growth.conftest import BAD, Undisturbed, drive, quarantine_of, reading
from tests.growth.driver import ONCE, POINTS, source

SHORT = [("store begun", 0), ("forks written", 1)]
LONG = [
    pytest.param(point, number, marks=pytest.mark.slow)
    for point in POINTS
    for number in ((0,) if point in ONCE else (0, 1, 2))
    if (point, number) not in SHORT and point != "none"
]


@pytest.mark.parametrize(("point", "number"), [*SHORT, *LONG])
def test_killed_and_run_again(undisturbed: Undisturbed, tmp_path, point, number, small_chunks):
    root = str(tmp_path)
    with reading(root):
        ended = drive(root, undisturbed.folder, point, number)
        assert ended.returncode == -signal.SIGKILL, ended.stderr[-2000:]
        with hold_lease(root, "ingest") as lease:
            assert lease.token == 2, "the dead one's lease is taken at once"
            ingest(root, source(undisturbed.folder), lease)
    undisturbed.assert_same(root)


def once(marker: str) -> None:
    """End this process, but only the first that comes here."""
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    os._exit(1)


def dying(task: Any, marker: str) -> Callable[..., Any]:
    """Return a task's function that ends its worker once, its work done and nothing returned."""
    function = task._function

    def die_after(*args: Any) -> Any:
        result = function(*args)
        once(marker)
        return result

    return die_after


@pytest.mark.parametrize(
    ("module", "task", "returns"),
    [
        (stage, "write_task", 1),
        pytest.param(loading, "load_task", 2, marks=pytest.mark.slow),
    ],
)
def test_a_task_that_dies_after_its_work_is_run_again(
    undisturbed: Undisturbed, tmp_path, monkeypatch, small_chunks, module, task, returns
):
    root, marker = str(tmp_path / "root"), str(tmp_path / "died")
    again = ray.remote(num_cpus=1, num_returns=returns)(dying(getattr(module, task), marker))
    monkeypatch.setattr(module, task, again)
    ingest(root, source(undisturbed.folder))
    assert Path(marker).exists(), "it did die"
    undisturbed.assert_same(root)


@dataclass(frozen=True)
class Deadly(DJA):
    """The DJA with a file that ends whoever reads it, as a fault in a C library would."""

    fatal: str = ""

    async def read(self, entry: SpectrumEntry, file: ArchiveFile) -> Spectrum:
        if entry.object_id == self.fatal:
            os._exit(1)
        return await super().read(entry, file)


@pytest.mark.slow
def test_a_file_that_ends_every_worker_is_quarantined_alone(undisturbed: Undisturbed, tmp_path, small_chunks):
    root, healthy = str(tmp_path), source(undisturbed.folder, files_a_task=2)
    names = sorted(healthy.archive.list_spectra()["object_id"].to_pylist())
    fatal = names[60]
    deadly = Deadly(healthy.archive.catalog, healthy.archive.url, **ALL, fatal=fatal)
    ingest(root, replace(healthy, archive=deadly))
    store, problems = verify_store(root)
    assert problems == []
    assert store.n_rows == len(names) - len(BAD) - 1
    crashed = [row for row in quarantine_of(store) if row["reason"] == QuarantineReason.CRASHED]
    assert [row["object_id"] for row in crashed] == [fatal]
    assert "Worker" in crashed[0]["detail"]
    # Once whatever it was is mended, `distspec retry` brings it in.
    ingest(root, healthy, retry_transient=True)
    assert open_store(store_url(root)).n_rows == len(names) - len(BAD)
    assert quarantine_of(open_store(store_url(root))) == undisturbed.quarantine


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small disk needs the right to mount one")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_an_error_and_no_half_commit(undisturbed: Undisturbed, small_disk, small_chunks):
    root = str(small_disk / "root")
    (small_disk / "ballast").write_bytes(b"x" * 600_000)
    with reading(root) as seen, pytest.raises(RuntimeError, match=r"could not be written \(.*No space left"):
        ingest(root, source(undisturbed.folder))
    n = open_store(store_url(root)).n_rows
    assert seen[-1] == n
    assert verify_store(root)[1] == []
    (small_disk / "ballast").unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    ingest(root, source(undisturbed.folder))
    assert open_store(store_url(root)).n_rows > n
    undisturbed.assert_same(root)


def test_a_record_that_found_no_room_leaves_the_old_one(small_disk):
    url = str(small_disk / "record.json")
    write_json(url, {"n": 1})
    with pytest.raises(OSError, match="No space left"):
        write_json(url, {"n": "x" * 2_000_000})
    assert read_json(url) == {"n": 1}
    assert [path.name for path in small_disk.iterdir()] == ["record.json"], "nothing lies about"


def test_one_bad_file_fails_no_run_many_do(undisturbed: Undisturbed, tmp_path, small_chunks):
    """Of what one night brings all may be bad."""
    root, whole = str(tmp_path / "root"), source(undisturbed.folder)
    lines = (undisturbed.folder / "catalog.csv").read_text().splitlines(keepends=True)
    catalog = tmp_path / "catalog.csv"
    archive = replace(whole.archive, catalog=str(catalog))

    def offer(n_missing: int) -> None:
        missing = [lines[1].replace(".spec.fits", f"{i}.spec.fits") for i in range(n_missing)]
        catalog.write_text("".join([*lines[:21], *missing]))

    offer(0)
    ingest(root, replace(whole, archive=archive))
    offer(1)
    assert ingest(root, replace(whole, archive=archive)).counts["quarantined"] == 1
    assert ingest(root, replace(whole, archive=archive), retry_transient=True).counts["stored"] == 0
    offer(30)
    big = replace(whole, archive=archive, config=replace(whole.config, task_mb=1e3))
    with pytest.raises(RuntimeError, match=r"could not be had|more than ingest\.max_bad_share"):
        ingest(root, big)
