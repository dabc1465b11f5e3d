"""Root and archive on S3, served by a real server with conditional writes."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import obstore
import pytest
import ray
import xarray
import zarr
from zarr.storage import ObjectStore

from distspec.archives.catalogs import find_etags
from distspec.archives.dja import DJA
from distspec.cli.main import main
from distspec.core.errors import LeaseHeldError, StoreError
from distspec.ingest.source import ArchiveSource
from distspec.io import files as files_module
from distspec.io import storage
from distspec.io.files import compare_and_swap, read_versioned, url_exists
from distspec.io.lease import acquire_lease, hold_lease
from distspec.io.paths import join_url, store_url
from distspec.io.remote.config import AccessConfig
from distspec.io.remote.listing import list_folder
from distspec.models.model import load_model
from distspec.models.serialization import import_model
from distspec.stages import ingest as ingest_module
from distspec.stages import load as load_module
from distspec.stages.ingest import ingest
from distspec.store.snapshots import collect_garbage
from distspec.store.store import Store, open_store
from distspec.store.transactions import Transaction
from distspec.store.verify import verify_store
from tests.growth.archives import SELECT_ALL, GrowingArchive, make_source
from tests.growth.conftest import REPOSITORY, Undisturbed, concurrent_reader, run_driver
from tests.growth.driver import POINTS, POINTS_ONCE_PER_RUN, killed_source
from tests.helpers.content import content_checksum
from tests.helpers.models import save as save_model
from tests.helpers.seaweed import S3, s3, seaweed
from tests.helpers.small_stores import grow, names, new_store

__all__ = ["s3", "seaweed"]
N_FILES = 60


@pytest.fixture
def on_s3(s3: S3, local_ray: None, monkeypatch: pytest.MonkeyPatch) -> S3:
    """Tasks of ingest get the settings of the server."""
    env: Any = {"env_vars": s3.environment}
    tasks = (
        (load_module, "load_batch_task", 2),
        (ingest_module, "write_chunks_task", 1),
        (load_module, "read_pilot_task", 1),
    )
    for module, name, n_returns in tasks:
        function: Any = getattr(module, name)._function
        task = ray.remote(num_cpus=1, num_returns=n_returns, runtime_env=env)(function)
        monkeypatch.setattr(module, name, task)
    return s3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    archive = GrowingArchive.create(folder, N_FILES)
    files = sorted(archive.rows)
    archive.write_catalog(files[:40])
    (folder / "catalog.csv").rename(folder / "early.csv")
    archive.write_catalog(files[5:])
    (folder / files[20]).unlink()
    (folder / files[50]).write_bytes(b"")
    return folder


def make_s3_source(url: str, catalog: str) -> ArchiveSource:
    archive = DJA(f"{url}/{catalog}", url, **SELECT_ALL)
    return make_source(archive, task_mb=8.5 * archive.spectrum_bytes / 1e6, commit_rows=16)


def test_grow_verify_export_and_collect(on_s3: S3, folder, tmp_path, small_chunks, monkeypatch, capsys):
    url, root, local = on_s3.upload(folder, "archive"), on_s3.url("a root"), str(tmp_path / "root")
    for catalog in ("early.csv", "catalog.csv"):
        for place in (root, local):
            with hold_lease(place, "ingest") as lease:
                ingest(place, make_s3_source(url, catalog), lease)
    store, problems = verify_store(root)
    assert problems == []
    assert store.n_rows == N_FILES - 2
    assert store.withdrawn_mask().sum() == 5
    assert sorted(store.read_quarantine()["reason"].to_pylist()) == ["not_found", "unreadable"]
    assert content_checksum(store) == content_checksum(open_store(store_url(local)))
    assert {path.name for path in Path(local).iterdir()} - {"store"} == {"lease.json", ".lease.json.lock"}

    assert not ingest(root, make_s3_source(url, "catalog.csv")).did_work

    args = ["--root", root, "--to", on_s3.url("copies/one"), "--format", "zarr"]
    monkeypatch.setattr(sys, "argv", ["distspec", "export", *args])
    main()
    assert capsys.readouterr().out.startswith(f"{N_FILES - 2} rows in s3://")
    copy = ObjectStore(
        storage.open_bucket("s3", on_s3.bucket, prefix=on_s3.key("copies/one")),
        read_only=True,
    )
    assert np.array_equal(zarr.open_group(copy, mode="r")["flux"][:], store.read_spectra(slice(None))[0])
    data = xarray.open_zarr(copy, consolidated=True)
    assert data.sizes["row"] == N_FILES - 2
    assert np.flatnonzero(data.is_current.values).tolist() == store.current_rows().tolist()
    with pytest.raises(SystemExit):
        main()
    assert "export to another place" in capsys.readouterr().err

    time.sleep(1.0)  # the clock of the server may differ by as much
    summary = collect_garbage(root, timedelta(0))
    assert summary.n_expired > 0
    assert summary.n_bytes > 0
    assert verify_store(root)[1] == []
    assert content_checksum(open_store(store_url(root))) == content_checksum(store)


def call_concurrently(n: int, call: Callable[[int], Any]) -> list[Any]:
    """Call a function in n threads at the same time, and return its results or errors."""
    start, results = threading.Barrier(n), [None] * n

    def run(i: int) -> None:
        start.wait()
        try:
            results[i] = call(i)
        except Exception as error:
            results[i] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_one_of_many_concurrent_swaps_succeeds(s3: S3):
    url = s3.url("root/lease.json")
    assert read_versioned(url) is None
    version: str | None = None
    for round_ in range(2):
        before = version
        versions = call_concurrently(
            6, lambda i, v=before, r=round_: compare_and_swap(url, f"{r} {i}".encode(), v)
        )
        (winner,) = [i for i, won in enumerate(versions) if won is not None]
        version = versions[winner]
        assert read_versioned(url) == (f"{round_} {winner}".encode(), version)
    assert compare_and_swap(url, b"late", "no such version") is None
    assert compare_and_swap(url, b"late", None) is None


def test_a_swap_of_a_deleted_file_fails(s3: S3):
    url = s3.url("root/lease.json")
    version = compare_and_swap(url, b"a", None)
    s3.client.delete_object(Bucket=s3.bucket, Key=s3.key("root/lease.json"))
    assert compare_and_swap(url, b"b", version) is None
    assert not url_exists(url)


def test_a_swap_without_a_response_succeeds(s3: S3, monkeypatch):
    """The client repeats it, and finds its own file."""
    put = obstore.put

    def put_twice(*args: Any, **kwargs: Any) -> Any:
        put(*args, **kwargs)
        return put(*args, **kwargs)

    url = s3.url("root/lease.json")
    monkeypatch.setattr(files_module.obstore, "put", put_twice)
    version = compare_and_swap(url, b"a", None)
    assert read_versioned(url) == (b"a", version)
    later = compare_and_swap(url, b"b", version)
    assert read_versioned(url) == (b"b", later)
    assert compare_and_swap(url, b"c", version) is None


def test_one_of_many_concurrent_leases_is_acquired(s3: S3):
    root = s3.url("root")
    results = call_concurrently(6, lambda i: acquire_lease(root, f"run {i}"))
    (held,) = [result for result in results if not isinstance(result, Exception)]
    assert all(isinstance(result, LeaseHeldError) for result in results if result is not held)
    with pytest.raises(LeaseHeldError, match=r"is held by run \d on .*, process \d+, since"):
        acquire_lease(root, "late")
    held.release()
    with hold_lease(root, "next") as lease:
        assert lease.token == held.token + 1
        lease.check_held()


@pytest.fixture
def store(s3: S3) -> Store:
    return grow(new_store(s3.url("root")), names(0, 20))


def test_a_run_with_an_outdated_snapshot_commits_nothing(store):
    grow(store, names(20, 5))
    with pytest.raises(StoreError, match="another run committed"):
        grow(store, names(30, 5))
    assert open_store(store.url).n_rows == 25


def test_one_of_many_concurrent_commits_succeeds(store):
    """All transactions start from the same snapshot."""
    transactions = [Transaction(store) for _ in range(5)]
    for i, transaction in enumerate(transactions):
        transaction.group.attrs["by"] = i
    results = call_concurrently(5, lambda i: transactions[i].commit(f"{i}"))
    winners = [i for i, result in enumerate(results) if isinstance(result, Store)]
    assert len(winners) == 1
    assert all("another run committed" in str(r) for r in results if not isinstance(r, Store))
    assert open_store(store.url).group.attrs["by"] == winners[0]
    assert verify_store(store.url.removesuffix("/store"))[1] == []


@pytest.mark.slow  # tests/cluster/test_jobs.py shows it on a cluster
def test_a_job_without_the_lease_reports_the_holder(s3: S3, local_ray):
    root = s3.url("root")
    with hold_lease(root, "ingest of another"):
        ended = run_job(root, s3.url("archive"))
    assert ended.returncode == 75
    assert "is held by ingest of another on " in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not icechunk.Repository.exists(storage.icechunk_storage(store_url(root)))


@pytest.mark.slow
def test_one_of_two_concurrent_jobs_reports_the_holder(s3: S3, folder, local_ray):
    url, root = s3.upload(folder, "archive"), s3.url("root")
    results = call_concurrently(2, lambda _: run_job(root, url))
    codes = sorted(result.returncode for result in results)
    # A job that starts after the other has ended has nothing to do.
    assert codes in ([0, 75], [0, 0]), [result.stderr[-500:] for result in results]
    if codes == [0, 75]:
        (message,) = [result.stderr for result in results if result.returncode]
        assert "is held by ingest on " in message or "was acquired by another job at the same time" in message
    store, problems = verify_store(root)
    assert problems == []
    assert store.n_rows == N_FILES - 5 - 2


def run_job(root: str, url: str) -> subprocess.CompletedProcess[str]:
    """Run `jobs.ingest` on this session's Ray, whose workers get the settings of the server."""
    code = (
        "import os, sys; from distspec.cli.run import main; from distspec.stages import session\n"
        "server = {name: value for name, value in os.environ.items() if name.startswith('AWS_')}\n"
        "session.WORKER_ENV = {**session.WORKER_ENV, **server}\n"
        "main(['ingest', *sys.argv[1:]])"
    )
    flags = {"--root": root, "--archive.url": url, "--archive.catalog": f"{url}/catalog.csv"}
    flags |= {"--ray.address": ray.get_runtime_context().gcs_address, "--grid.n-pixels": "48"}
    command = [sys.executable, "-c", code, "dja", *(word for flag in flags.items() for word in flag)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=180, check=False)


@pytest.mark.parametrize(
    ("point", "number"),
    [
        pytest.param("4 ms into the commit", 1, marks=pytest.mark.slow),
        *(
            pytest.param(point, number, marks=pytest.mark.slow)
            for point in POINTS
            for number in ((0,) if point in POINTS_ONCE_PER_RUN else (0, 2))
            if point != "none"
        ),
    ],
)
def test_an_ingest_that_was_killed_on_s3_is_completed(
    undisturbed: Undisturbed, on_s3: S3, small_chunks, point, number
):
    root = on_s3.url(f"{point} {number}")
    with concurrent_reader(root):
        ended = run_driver(root, undisturbed.folder, point, number)
        assert ended.returncode == -signal.SIGKILL, ended.stderr[-2000:]
        with hold_lease(root, "ingest") as lease:
            assert lease.token == 2
            ingest(root, killed_source(undisturbed.folder), lease)
    undisturbed.assert_same(root)


def test_the_etag_of_a_multipart_upload_is_a_version(on_s3: S3, folder, tmp_path):
    """FAULTS 67: such an ETag is not an MD5; it ends in the number of parts, and changes with the content."""
    url, root = on_s3.upload(folder, "archive"), str(tmp_path / "root")
    key, other = sorted(path.name for path in folder.glob("*.fits"))[7:9]
    where = {"Bucket": on_s3.bucket, "Key": on_s3.key(f"archive/{key}")}

    def put_in_parts(content: bytes) -> str:
        known = {**where, "UploadId": on_s3.client.create_multipart_upload(**where)["UploadId"]}
        tag = on_s3.client.upload_part(**known, PartNumber=1, Body=content)["ETag"]
        parts = {"Parts": [{"PartNumber": 1, "ETag": tag}]}
        on_s3.client.complete_multipart_upload(**known, MultipartUpload=parts)
        return find_etags([f"{url}/{key}"], url, AccessConfig())[0]

    def get_version() -> str:
        ledger = open_store(store_url(root)).ledger(["object_id", "version"]).to_pylist()
        return [row["version"] for row in ledger if row["object_id"] == key][-1]

    etag = put_in_parts((folder / key).read_bytes())
    assert etag.endswith("-1")
    plain_source = make_s3_source(url, "catalog.csv")
    etag_source = replace(plain_source, archive=replace(plain_source.archive, version_by_etag=True))
    ingest(root, etag_source)
    assert get_version().endswith(f"etag={etag}")
    assert not ingest(root, etag_source).did_work
    changed = put_in_parts((folder / other).read_bytes())
    assert ingest(root, etag_source).summary["new"] == 1
    assert get_version().endswith(f"etag={changed}")
    assert changed != etag


def test_a_folder_is_listed_with_sizes_and_versions(s3: S3, tmp_path):
    """There is more than a page of names, and some must be quoted in a URL."""
    files = [f"{i:04d}.fits" for i in range(1005)] + ["a b+c,é.fits", "notes.txt"]
    for file in files:
        (tmp_path / file).write_bytes(file.encode())
    url = s3.upload(tmp_path, "archive")
    s3.put("archive2/0.fits", b"")
    s3.put("archive/below/x.fits", b"x")
    found = list_folder(url, AccessConfig(), ".fits")
    expected = sorted(f"{url}/{name}" for name in [*files[:-1], "below/x.fits"])
    assert [file.url for file in found] == expected
    sizes = {file.url.removeprefix(f"{url}/"): file.size for file in found}
    assert sizes["a b+c,é.fits"] == len("a b+c,é.fits".encode())
    assert len({file.etag for file in found}) == len(found)
    head = s3.client.head_object(Bucket=s3.bucket, Key=s3.key("archive/0003.fits"))
    assert found[3].etag == head["ETag"].strip('"')
    assert join_url(url, "0003.fits") == found[3].url


def test_a_model_copied_to_s3_gives_the_same_results(s3: S3, small_store: Store):
    local_url = save_model(small_store, small_store.url.removesuffix("/store"))
    root = s3.url("root")
    import_model(root, local_url)
    flux, ivar = small_store.read_spectra(slice(0, 3))
    one, two = (load_model(url).encode(flux, ivar, 5.0) for url in (local_url, join_url(root, "models/m-1")))
    assert np.array_equal(one, two)
