"""A small growing archive with some bad files in it, what a run on it comes to, and readers of stores."""

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

from distspec.core.spectrum import compute_row_checksums
from distspec.io.paths import store_url
from distspec.stages.ingest import ingest
from distspec.store import store as stores
from distspec.store.columns import METADATA_COLUMNS
from distspec.store.store import Store, open_store
from distspec.store.verify import verify_store
from tests.growth.archives import Growing
from tests.growth.driver import CHUNK_ROWS, source

N_FILES = 110
BAD = {5: "missing", 31: "empty", 32: "cut short", 77: "missing"}
REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Undisturbed:
    """An archive, and what a run that nothing befell made of it."""

    folder: Path
    content_hash: str
    quarantine: list[dict[str, str]]

    def assert_same(self, root: str) -> None:
        """Hold a root against it."""
        store, problems = verify_store(root)
        assert problems == []
        assert content_checksum(store) == self.content_checksum
        assert quarantine_of(store) == self.quarantine


def quarantine_of(store: Store) -> list[dict[str, str]]:
    table: pa.Table = store.read_quarantine().select(["object_id", "version", "uri", "reason", "detail"])
    return table.sort_by("object_id").to_pylist()


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen rows a chunk, of any store that is made."""
    monkeypatch.setattr(stores, "CHUNK_BYTES", 4 * 48 * CHUNK_ROWS)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> Undisturbed:
    folder, root = tmp_path_factory.mktemp("archive"), str(tmp_path_factory.mktemp("root"))
    spoil(Growing.make(folder, N_FILES))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stores, "CHUNK_BYTES", 4 * 48 * CHUNK_ROWS)
        ingest(root, source(folder))
    store = open_store(store_url(root))
    assert (store.n_rows, store.chunk_rows) == (N_FILES - len(BAD), CHUNK_ROWS)
    assert store.n_ingest_commits >= 3
    return Undisturbed(folder, content_checksum(store), quarantine_of(store))


def spoil(archive: Growing) -> None:
    """Offer all files, and take away, empty or cut short some of them."""
    names = sorted(archive.rows)
    archive.offer(names)
    for i, how in BAD.items():
        path = archive.folder / names[i]
        if how == "missing":
            path.unlink()
        else:
            path.write_bytes(b"" if how == "empty" else path.read_bytes()[:20_000])


def drive(root: str, folder: Path, point: str, number: int) -> subprocess.CompletedProcess[str]:
    """Run `tests.growth.driver` on this session's Ray."""
    environment = {**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    command = [sys.executable, "-m", "tests.growth.driver", root, str(folder), point, str(number)]
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@contextmanager
def reading(root: str) -> Iterator[list[int]]:
    """Open a store again and again, and fail where it is ever less than whole; yields rows seen each time."""
    seen: list[int] = []
    wrong: list[str] = []
    over = threading.Event()

    def read_once() -> None:
        try:
            seen.append(look(open_store(store_url(root)), seen[-1] if seen else 0))
        except FileNotFoundError as error:
            if seen or "no store" not in str(error):
                wrong.append(repr(error))
        except BaseException as error:
            wrong.append(repr(error))

    def read() -> None:
        while not over.is_set():
            read_once()
            over.wait(0.25)  # two cores are soon busy with nothing but looking

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
        read_once()  # the last state, whenever the thread looked last
    assert not wrong, wrong[:3]
    assert seen, "nobody looked"


def look(store: Store, before: int) -> int:
    """Check that a state is whole: all lengths agree, a sample is what was stored, no row has gone."""
    n = store.n_rows
    lengths = {
        name: store.open_array(name).shape[0]
        for name in ("flux", "ivar", "ledger_checksum", *METADATA_COLUMNS)
    }
    assert set(lengths.values()) == {n}, lengths
    assert n >= before
    rows = np.unique(np.linspace(0, n - 1, 8).astype(int)) if n else np.zeros(0, int)
    checksum = store.open_array("checksum")[:][rows]
    assert np.array_equal(compute_row_checksums(*store.read_spectra(rows)), checksum) or not n
    return n
