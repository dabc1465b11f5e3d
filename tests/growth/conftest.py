"""A small growing archive with some bad files, the result of an undisturbed ingest, and readers of stores."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import ray

from distspec.core.errors import NotFoundError
from distspec.core.spectrum import compute_row_checksums
from distspec.io.paths import store_url
from distspec.stages.ingest import ingest
from distspec.store import store as store_module
from distspec.store.columns import METADATA_COLUMNS
from distspec.store.store import Store, open_store
from distspec.store.verify import verify_store
from tests.growth.archives import GrowingArchive
from tests.growth.driver import CHUNK_ROWS, killed_source
from tests.helpers.content import content_checksum

N_FILES = 110
BAD_FILES = {5: "missing", 31: "empty", 32: "truncated", 77: "missing"}
REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Undisturbed:
    """An archive, and the result of an undisturbed ingest of it."""

    folder: Path
    content_checksum: str
    quarantine: list[dict[str, str]]

    def assert_same(self, root: str) -> None:
        """Check that the store of a root is intact and has the same content."""
        store, problems = verify_store(root)
        assert problems == []
        assert content_checksum(store) == self.content_checksum
        assert list_quarantine(store) == self.quarantine


def list_quarantine(store: Store) -> list[dict[str, str]]:
    """Return the quarantine, sorted by object, without the numbers of commits."""
    table: pa.Table = store.read_quarantine().select(["object_id", "version", "uri", "reason", "detail"])
    return table.sort_by("object_id").to_pylist()


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """New stores have sixteen rows in a chunk."""
    monkeypatch.setattr(store_module, "CHUNK_BYTES", 4 * 48 * CHUNK_ROWS)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> Undisturbed:
    folder, root = tmp_path_factory.mktemp("archive"), str(tmp_path_factory.mktemp("root"))
    damage_files(GrowingArchive.create(folder, N_FILES))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_module, "CHUNK_BYTES", 4 * 48 * CHUNK_ROWS)
        ingest(root, killed_source(folder))
    store = open_store(store_url(root))
    assert (store.n_rows, store.chunk_rows) == (N_FILES - len(BAD_FILES), CHUNK_ROWS)
    assert store.n_ingest_commits >= 3
    return Undisturbed(folder, content_checksum(store), list_quarantine(store))


def damage_files(archive: GrowingArchive) -> None:
    """List all files in the catalog, and remove, empty or truncate some of them."""
    names = sorted(archive.rows)
    archive.write_catalog(names)
    for i, damage in BAD_FILES.items():
        path = archive.folder / names[i]
        if damage == "missing":
            path.unlink()
        else:
            path.write_bytes(b"" if damage == "empty" else path.read_bytes()[:20_000])


def run_driver(root: str, folder: Path, point: str, number: int) -> subprocess.CompletedProcess[str]:
    """Run `tests.growth.driver` on this session's Ray."""
    environment = {**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    command = [sys.executable, "-m", "tests.growth.driver", root, str(folder), point, str(number)]
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@contextmanager
def concurrent_reader(root: str) -> Iterator[list[int]]:
    """Open a store repeatedly in a thread, fail on inconsistent snapshots, and yield the numbers of rows."""
    n_rows: list[int] = []
    failures: list[str] = []
    stop = threading.Event()

    def read_once() -> None:
        try:
            n_rows.append(check_snapshot(open_store(store_url(root)), n_rows[-1] if n_rows else 0))
        except NotFoundError as error:
            if n_rows:
                failures.append(repr(error))
        except BaseException as error:
            failures.append(repr(error))

    def read() -> None:
        while not stop.is_set():
            read_once()
            stop.wait(0.25)  # the reader must not take all of two cores

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield n_rows
    finally:
        stop.set()
        thread.join()
        read_once()  # the last snapshot
    assert not failures, failures[:3]
    assert n_rows, "no snapshot was read"


def check_snapshot(store: Store, n_before: int) -> int:
    """Check that arrays have the same length, that a sample is intact, and that no row has disappeared."""
    n = store.n_rows
    lengths = {
        name: store.open_array(name).shape[0]
        for name in ("flux", "ivar", "ledger_checksum", *METADATA_COLUMNS)
    }
    assert set(lengths.values()) == {n}, lengths
    assert n >= n_before
    rows = np.unique(np.linspace(0, n - 1, 8).astype(int)) if n else np.zeros(0, int)
    checksum = store.open_array("checksum")[:][rows]
    assert np.array_equal(compute_row_checksums(*store.read_spectra(rows)), checksum) or not n
    return n
