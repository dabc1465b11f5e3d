"""Files below a root: atomic writes, conditional writes, and JSON, Parquet and NumPy content.

A reader sees the old or the new content of a file, never a part of it. Functions raise `NotFoundError` for a
file that does not exist, and `StorageError` if permissions, a full disk or an object store prevent the
access.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import obstore
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from obstore.exceptions import AlreadyExistsError, PreconditionError

from distspec.io.paths import join_url
from distspec.io.storage import open_bucket, split_url, storage_errors


def url_exists(url: str) -> bool:
    """Return whether there is a file at a URL.

    Parameters
    ----------
    url : str
        URL of a file.

    Returns
    -------
    bool
    """
    scheme, name, key = split_url(url)
    with storage_errors(url):
        if scheme == "file":
            return Path(key).exists()
        try:
            obstore.head(open_bucket(scheme, name), key)
        except FileNotFoundError:
            return False
        return True


def write_bytes(url: str, content: bytes) -> None:
    """Write a file atomically.

    Writes to an object store are atomic; a local file is written under a temporary name and renamed.

    Parameters
    ----------
    url : str
        URL of the file.
    content : bytes
        Content of the file.
    """
    scheme, name, key = split_url(url)
    with storage_errors(url):
        if scheme != "file":
            obstore.put(open_bucket(scheme, name), key, content)
            return
        with _open_temporary_sibling(Path(key)) as file:
            file.write(content)


@contextmanager
def open_atomic(url: str) -> Generator[IO[bytes]]:
    """Yield a file to write content of any size to; at the end of the block it replaces the file at a URL.

    Content for an object store is first written to the local disk, so that it need not fit in memory.

    Parameters
    ----------
    url : str
        URL of the file; it stays as it is if the block raises.
    """
    scheme, name, key = split_url(url)
    with storage_errors(url):
        if scheme == "file":
            with _open_temporary_sibling(Path(key)) as file:
                yield file
            return
        with tempfile.TemporaryFile() as file:
            yield file
            file.seek(0)
            obstore.put(open_bucket(scheme, name), key, file)


@contextmanager
def _open_temporary_sibling(target: Path) -> Generator[IO[bytes]]:
    """Yield a file in the target's folder, which replaces the target at the end of the block."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def read_bytes(url: str) -> bytes:
    """Return the content of a file.

    Parameters
    ----------
    url : str
        URL of the file.

    Returns
    -------
    bytes

    Raises
    ------
    NotFoundError
        If there is no file at the URL.
    StorageError
        If it cannot be read.
    """
    scheme, name, key = split_url(url)
    with storage_errors(url):
        if scheme == "file":
            return Path(key).read_bytes()
        return bytes(obstore.get(open_bucket(scheme, name), key).bytes())


def compute_stream_sha256(file: IO[bytes]) -> str:
    """Return the SHA-256 of everything that was written to an open file.

    Parameters
    ----------
    file : IO[bytes]
        File that is open for reading and writing.

    Returns
    -------
    str
        Hexadecimal SHA-256.
    """
    file.flush()
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def compute_sha256(url: str) -> str:
    """Return the SHA-256 of a file of any size.

    Parameters
    ----------
    url : str
        URL of the file.

    Returns
    -------
    str
        Hexadecimal SHA-256.

    Raises
    ------
    NotFoundError
        If there is no file at the URL.
    StorageError
        If it cannot be read.
    """
    scheme, name, key = split_url(url)
    with storage_errors(url):
        if scheme == "file":
            with Path(key).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256()
        for part in obstore.get(open_bucket(scheme, name), key).stream():
            digest.update(part)
        return digest.hexdigest()


def list_files(url: str) -> list[str]:
    """Return the sorted paths, relative to a folder, of all files below it; empty if it does not exist.

    Parameters
    ----------
    url : str
        URL of the folder.

    Returns
    -------
    list of str
    """
    scheme, name, key = split_url(url)
    with storage_errors(url):
        if scheme == "file":
            folder = Path(key)
            return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
        prefix = f"{key}/"
        pages = obstore.list(open_bucket(scheme, name), prefix)
        return sorted(file["path"].removeprefix(prefix) for page in pages for file in page)


def delete_file(url: str) -> None:
    """Delete a file, if it exists.

    Parameters
    ----------
    url : str
        URL of the file.
    """
    scheme, name, key = split_url(url)
    with storage_errors(url):
        if scheme == "file":
            Path(key).unlink(missing_ok=True)
            return
        with suppress(FileNotFoundError):
            obstore.delete(open_bucket(scheme, name), key)


def delete_folder(url: str) -> None:
    """Delete a folder and everything below it, if it exists.

    Parameters
    ----------
    url : str
        URL of the folder.
    """
    scheme, _, key = split_url(url)
    if scheme == "file":
        shutil.rmtree(key, ignore_errors=True)
        return
    for name in list_files(url):
        delete_file(join_url(url, name))


def read_versioned(url: str) -> tuple[bytes, str] | None:
    """Return a file's content and its version for `compare_and_swap`; None if there is no file.

    Parameters
    ----------
    url : str
        URL of the file.

    Returns
    -------
    tuple[bytes, str] or None
    """
    scheme, name, key = split_url(url)
    try:
        with storage_errors(url):
            if scheme == "file":
                content = Path(key).read_bytes()
                return content, hashlib.sha256(content).hexdigest()
            result = obstore.get(open_bucket(scheme, name), key)
            return bytes(result.bytes()), result.meta["e_tag"] or ""
    except FileNotFoundError:
        return None


def compare_and_swap(url: str, content: bytes, version: str | None) -> str | None:
    """Replace a file if it still has the expected version.

    Of several writers that expect the same version, one succeeds: object stores offer a conditional write,
    and a local folder is locked. The writers must write different content.

    Parameters
    ----------
    url : str
        URL of the file.
    content : bytes
        Content to write.
    version : str or None
        Version that `read_versioned` returned; None if the file must not exist yet.

    Returns
    -------
    str or None
        The new version; None if another writer was first and nothing was written.

    Raises
    ------
    StorageError
        If the file cannot be written.
    """
    scheme, name, key = split_url(url)
    with storage_errors(url):
        if scheme != "file":
            mode: Any = "create" if version is None else {"e_tag": version}
            try:
                return obstore.put(open_bucket(scheme, name), key, content, mode=mode)["e_tag"]
            except (AlreadyExistsError, PreconditionError, FileNotFoundError):
                # If the response to a first attempt was lost, the retry finds what the first one wrote.
                current = read_versioned(url)
                return current[1] if current and current[0] == content else None
        folder = Path(key).parent
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f".{Path(key).name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            current = read_versioned(url)
            if (current and current[1]) != version:
                return None
            write_bytes(url, content)
        return hashlib.sha256(content).hexdigest()


def write_json(url: str, record: Mapping[str, Any]) -> None:
    """Write a record as JSON.

    Parameters
    ----------
    url : str
        URL of the file.
    record : object
        Value that JSON can represent.
    """
    write_bytes(url, encode_json(record))


def encode_json(record: Mapping[str, Any]) -> bytes:
    """Return a record as JSON; the bytes do not depend on the order of its keys.

    Parameters
    ----------
    record : object
        Value that JSON can represent.

    Returns
    -------
    bytes
    """
    return json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False).encode()


def read_json(url: str) -> dict[str, Any]:
    """Read a JSON record.

    Parameters
    ----------
    url : str
        URL of the file.

    Returns
    -------
    object
        The decoded value.
    """
    return json.loads(read_bytes(url))


def write_table(url: str, table: pa.Table, row_group_size: int = 65_536) -> str:
    """Write a table as one Parquet file and return the SHA-256 of the file.

    Parameters
    ----------
    url : str
        URL of the Parquet file; an existing one is replaced.
    table : pyarrow.Table
        Content of the file.
    row_group_size : int
        Largest number of rows in a row group.
    """
    with open_atomic(url) as file:
        pq.write_table(table, file, compression="zstd", row_group_size=row_group_size)
        return compute_stream_sha256(file)


def read_table(url: str) -> pa.Table:
    """Read a Parquet file.

    Parameters
    ----------
    url : str
        URL of the Parquet file.

    Returns
    -------
    pyarrow.Table
    """
    return pq.read_table(io.BytesIO(read_bytes(url)))


def write_arrays(url: str, arrays: Mapping[str, NDArray[Any]]) -> str:
    """Write named arrays as one compressed .npz file, without pickles, and return the SHA-256 of the file.

    Parameters
    ----------
    url : str
        URL of the .npz file; an existing one is replaced.
    arrays : mapping of str to ndarray
        Arrays by name, of any data type but object.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_bytes(url, buffer.getvalue())
    return compute_stream_sha256(buffer)


def read_arrays(url: str) -> dict[str, NDArray[Any]]:
    """Read a .npz file; pickled objects in it are refused.

    Parameters
    ----------
    url : str
        URL of the ``.npz`` file.

    Returns
    -------
    dict of str to ndarray
        Arrays by name.
    """
    with np.load(io.BytesIO(read_bytes(url)), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
