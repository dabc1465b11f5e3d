import errno
import gzip
import os

import boto3
import pytest
from moto.server import ThreadedMotoServer
from obstore.exceptions import GenericError

from distspec.core.errors import ArchiveError
from distspec.io import storage
from distspec.io.remote.config import AccessConfig
from distspec.io.remote.listing import list_folder, read_catalog_bytes
from tests.faults import servers
from tests.faults.servers import serving

CONFIG = AccessConfig(attempts=1, timeout=5.0)


def test_a_folder_is_listed_with_sizes_and_etags(tmp_path):
    for name in ("b/2.fits", "a/1.fits", "3.fits", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "folder.fits").mkdir()
    base = f"file://{tmp_path}"
    listed = list_folder(base, CONFIG, ".fits")
    assert [file.url for file in listed] == [f"{base}/{name}" for name in ("3.fits", "a/1.fits", "b/2.fits")]
    assert [file.size for file in listed] == [6, 8, 8]
    (tmp_path / "3.fits").write_bytes(b"longer than before")
    after = list_folder(base, CONFIG)
    assert len(after) == 4
    before = {file.url: file.etag for file in listed}
    changed = [file.url for file in after if before.get(file.url, file.etag) != file.etag]
    assert changed == [f"{base}/3.fits"]


def test_locations_that_cannot_be_listed(tmp_path):
    with pytest.raises(ValueError, match=r"no folder .*--archive\.url"):
        list_folder(f"file://{tmp_path}/none", CONFIG)
    with pytest.raises(ValueError, match=r"cannot be listed.*--archive\.catalog"):
        list_folder("https://example.org/x", CONFIG)


@pytest.fixture(scope="module")
def endpoint():
    service = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    service.start()
    host, port = service.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_REGION", "us-east-1")
        storage.clear_bucket_cache()
        yield f"http://{host}:{port}"
        storage.clear_bucket_cache()
    service.stop()


def test_a_bucket_is_listed_by_prefix_and_suffix(endpoint):
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    client.create_bucket(Bucket="listed")
    names = [f"archive/{i:04d}.fits" for i in range(12)]
    for name in (*names, "archive-2/x.fits", "archive/notes.txt"):
        client.put_object(Bucket="listed", Key=name, Body=b"x")
    access = AccessConfig(endpoint_url=endpoint)
    listed = list_folder("s3://listed/archive", access, ".fits")
    assert [file.url for file in listed] == [f"s3://listed/{name}" for name in names]
    assert {file.size for file in listed} == {1}
    assert not any('"' in file.etag or not file.etag for file in listed)
    assert len(list_folder("s3://listed", access)) == 14


def test_a_catalog_is_read_as_a_whole(tmp_path):
    (tmp_path / "c.csv").write_bytes(b"a,b\n")
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(b"a,b\n"))
    for name in ("c.csv", "c.csv.gz"):
        assert read_catalog_bytes(f"file://{tmp_path}/{name}", CONFIG) == b"a,b\n"
    with serving() as server:
        server.serve("/c.csv", b"a,b\n", servers.status(503), always=servers.ignore_ranges)
        assert read_catalog_bytes(f"{server.url}/c.csv", AccessConfig(attempts=3)) == b"a,b\n"


def test_the_error_names_the_url_of_the_catalog(tmp_path):
    with pytest.raises(ValueError, match=r"catalog file://.*/none\.csv: not_found"):
        read_catalog_bytes(f"file://{tmp_path}/none.csv", CONFIG)
    (tmp_path / "bomb.csv.gz").write_bytes(gzip.compress(b"0" * 2_000_001))
    with pytest.raises(ValueError, match=r"too_large.*decompress to more than 2,000,000"):
        read_catalog_bytes(
            f"file://{tmp_path}/bomb.csv.gz", AccessConfig(max_catalog_mb=2.0, max_file_mb=0.1)
        )
    with serving() as server:
        server.serve("/c.csv", b"", always=servers.status(403))
        with pytest.raises(ValueError, match=r"catalog http://.*/c\.csv: denied"):
            read_catalog_bytes(f"{server.url}/c.csv", CONFIG)


def test_links_are_followed_and_each_folder_is_listed_once(tmp_path):
    archive, disk = tmp_path / "archive", tmp_path / "disk"
    for folder in (archive / "own", disk):
        folder.mkdir(parents=True)
        (folder / f"{folder.name}.fits").write_bytes(b"x")
    (archive / "a-link-to-own").symlink_to("own")
    (archive / "moved").symlink_to(disk)
    (disk / "loop").symlink_to(archive)
    (archive / "missing.fits").symlink_to("nowhere")
    (archive / ".lock").symlink_to("user@host")
    base = f"file://{archive}"
    listed = list_folder(base, CONFIG, ".fits")
    names = [file.url.removeprefix(f"{base}/") for file in listed]
    assert names == ["missing.fits", "moved/disk.fits", "own/own.fits"]
    assert [file.etag == "" for file in listed] == [True, False, False]


@pytest.mark.parametrize("problem", ["link", "loop", "folder"])
def test_what_cannot_be_listed_is_an_error(tmp_path, monkeypatch, problem):
    (tmp_path / "0266").mkdir()
    if problem == "folder":
        scandir = os.scandir

        def refuse(path):
            if str(path).endswith("0266"):
                raise PermissionError(errno.EACCES, "Permission denied", path)
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refuse)
    else:
        (tmp_path / "0267").symlink_to("0267" if problem == "loop" else "not-mounted")
    with pytest.raises(ArchiveError, match=r"cannot be listed.*nothing was changed"):
        list_folder(f"file://{tmp_path}", CONFIG, ".fits")


def test_a_bucket_that_lists_one_page_only_is_an_error(monkeypatch):
    def pages(*_args, **_kwargs):
        yield [{"path": "a/1.fits", "size": 1, "e_tag": "x"}]
        raise GenericError("connection reset")

    monkeypatch.setattr("distspec.io.remote.listing.obstore.list", pages)
    with pytest.raises(ArchiveError, match=r"not be listed completely.*connection reset"):
        list_folder("s3://bucket/a", AccessConfig(anonymous=True, region="us-east-1"), ".fits")
