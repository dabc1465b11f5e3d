"""Test which settings a bucket is opened with, and how errors of disks and object stores are reported."""

import errno
import pickle

import pytest
from obstore.exceptions import GenericError, PermissionDeniedError

from distspec.core.errors import ConfigError, NotFoundError, StorageError
from distspec.io.files import read_bytes, write_bytes
from distspec.io.storage import (
    StorageConfig,
    full_disk_errors,
    get_storage,
    resolve_storage,
    set_storage,
    split_url,
    storage_errors,
    use_storage,
)

VARIABLES = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION")


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_arguments_take_precedence_over_active_settings_over_the_environment(monkeypatch):
    assert resolve_storage() == StorageConfig("", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://environment:9000")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert resolve_storage() == StorageConfig("http://environment:9000", "eu-west-1")
    with use_storage(StorageConfig("http://active:9000")):
        assert resolve_storage() == StorageConfig("http://active:9000", "eu-west-1")
        assert resolve_storage("http://argument:9000") == StorageConfig("http://argument:9000", "eu-west-1")
    assert resolve_storage().endpoint_url == "http://environment:9000"


def test_settings_are_active_within_the_block_only():
    first, second = StorageConfig("http://one:1"), StorageConfig("http://two:2")
    with use_storage(first):
        with pytest.raises(KeyError), use_storage(second):
            raise KeyError
        assert get_storage() == first
        assert set_storage(second) == first
    assert get_storage() == StorageConfig()


def test_other_schemes_are_refused():
    with pytest.raises(ConfigError, match=r"ftp://host/a: use a folder, s3://"):
        split_url("ftp://host/a")


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file"), NotFoundError, "no file at s3://b/k"),
        (PermissionError(errno.EACCES, "Permission denied"), StorageError, "check the permissions"),
        (OSError(errno.ENOSPC, "No space left on device"), StorageError, "No space left .* free some space"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), StorageError, "Disk quota exceeded: free some space"),
        (
            GenericError("Unable to copy data to file: No space left on device (os error 28)"),
            StorageError,
            "s3://b/k: No space left on device: free some space",
        ),
        (
            FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"),
            StorageError,
            r"'/tmp'\]: .* set \$TMPDIR",
        ),
        (OSError(errno.EIO, "Input/output error"), StorageError, "s3://b/k: Input/output error"),
        (PermissionDeniedError("403 Forbidden"), StorageError, "access denied"),
        (
            GenericError("no\nroute\n\nDebug source:\nmore"),
            StorageError,
            r"check the network .* \(no route\)",
        ),
    ],
)
def test_errors_are_reported_with_the_remedy(error, expected, message):
    with pytest.raises(expected, match=message) as caught, storage_errors("s3://b/k"):
        raise error
    assert caught.value.__cause__ is error
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (type(copy), str(copy)) == (type(caught.value), str(caught.value))


def test_a_full_disk_is_recognized_in_the_errors_of_workers_and_libraries():
    named = OSError(errno.ENOSPC, "No space left on device", "/disk/file")
    wrapped = RuntimeError("ray::task() failed")
    wrapped.cause = named
    for error, name in (
        (named, "/disk/file"),
        (wrapped, "/disk/file"),
        (ValueError("Not enough space on disk: requested 9"), "/r"),
    ):
        full = pytest.raises(StorageError, match=rf"^{name}: (No|Not enough) space .*free some space")
        with full, full_disk_errors("/r"):
            raise error


@pytest.mark.parametrize(
    "error", [ConfigError("No space left on device"), OSError(errno.EIO, "Input/output error"), KeyError()]
)
def test_other_errors_are_left_as_they_are(error):
    with pytest.raises(type(error)) as caught, full_disk_errors("/r"):
        raise error
    assert caught.value is error


def test_faults_of_the_program_are_not_storage_errors():
    with pytest.raises(KeyError), storage_errors("s3://b/k"):
        raise KeyError


def test_files_name_the_url_that_failed(tmp_path):
    with pytest.raises(NotFoundError, match=r"no file at .*none\.json"):
        read_bytes(str(tmp_path / "none.json"))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=r"below: (Not a directory|File exists)"):
        write_bytes(str(tmp_path / "file" / "below"), b"")
