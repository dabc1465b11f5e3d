"""Where everything lies under a root, and writing that is seen whole or not at all."""

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
from distspec.io.storage import open_bucket_from_env, split_url


def url_exists(url: str) -> bool:
    """Tell whether there is a file at `url`."""
    scheme, name, key = split_url(url)
    if scheme == "file":
        return Path(key).exists()
    try:
        obstore.head(open_bucket_from_env(scheme, name), key)
    except FileNotFoundError:
        return False
    return True


def write_bytes(url: str, content: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never a part.

    An object store's put is atomic by itself; a local file is written beside its place and renamed.
    """
    scheme, name, key = split_url(url)
    if scheme != "file":
        obstore.put(open_bucket_from_env(scheme, name), key, content)
        return
    with _open_temporary_sibling(Path(key)) as file:
        file.write(content)


@contextmanager
def open_atomic(url: str) -> Generator[IO[bytes]]:
    """Give a file to write to, of any size; what was written is then at `url`, seen whole or not at all.

    What goes to a bucket is written to the local disk first: memory holds none of it.
    """
    scheme, name, key = split_url(url)
    if scheme == "file":
        with _open_temporary_sibling(Path(key)) as file:
            yield file
        return
    with tempfile.TemporaryFile() as file:
        yield file
        file.seek(0)
        obstore.put(open_bucket_from_env(scheme, name), key, file)


@contextmanager
def _open_temporary_sibling(target: Path) -> Generator[IO[bytes]]:
    """Give a file beside its place, and put it there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        with beside.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def read_bytes(url: str) -> bytes:
    """Read a file.

    Raises
    ------
    FileNotFoundError
        When there is none.
    """
    scheme, name, key = split_url(url)
    if scheme == "file":
        return Path(key).read_bytes()
    return bytes(obstore.get(open_bucket_from_env(scheme, name), key).bytes())


def compute_stream_sha256(file: IO[bytes]) -> str:
    """Return the SHA-256 of all that was written to a file."""
    file.flush()
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def compute_sha256(url: str) -> str:
    """Return the SHA-256 of a file of any size.

    Raises
    ------
    FileNotFoundError
        When there is none.
    """
    scheme, name, key = split_url(url)
    if scheme == "file":
        with Path(key).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    found = hashlib.sha256()
    for part in obstore.get(open_bucket_from_env(scheme, name), key).stream():
        found.update(part)
    return found.hexdigest()


def list_files(url: str) -> list[str]:
    """Return the names of the files below a folder, relative to it, sorted; none where there is no folder."""
    scheme, name, key = split_url(url)
    if scheme == "file":
        folder = Path(key)
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    prefix = f"{key}/"
    pages = obstore.list(open_bucket_from_env(scheme, name), prefix)
    return sorted(file["path"].removeprefix(prefix) for page in pages for file in page)


def delete_file(url: str) -> None:
    """Take a file away; one that is gone already is no error."""
    scheme, name, key = split_url(url)
    if scheme == "file":
        Path(key).unlink(missing_ok=True)
        return
    with suppress(FileNotFoundError):
        obstore.delete(open_bucket_from_env(scheme, name), key)


def delete_folder(url: str) -> None:
    """Take away what lies below a folder, and the folder."""
    scheme, _, key = split_url(url)
    if scheme == "file":
        shutil.rmtree(key, ignore_errors=True)
        return
    for each in list_files(url):
        delete_file(join_url(url, each))


def read_versioned(url: str) -> tuple[bytes, str] | None:
    """Return a file's content and its version, for `swap`; None where there is no file."""
    scheme, name, key = split_url(url)
    try:
        if scheme == "file":
            content = Path(key).read_bytes()
            return content, hashlib.sha256(content).hexdigest()
        result = obstore.get(open_bucket_from_env(scheme, name), key)
        return bytes(result.bytes()), result.meta["e_tag"] or ""
    except FileNotFoundError:
        return None


def compare_and_swap(url: str, content: bytes, version: str | None) -> str | None:
    """Write a file only if it is still the version that was read; None: only if there is none.

    Of many that try at once one succeeds: a conditional put on object stores, a lock on local disk. Each
    must have something else to write.

    Returns
    -------
    str or None
        The new version; None where another was quicker, and nothing was written.
    """
    scheme, name, key = split_url(url)
    if scheme != "file":
        mode: Any = "create" if version is None else {"e_tag": version}
        try:
            return obstore.put(open_bucket_from_env(scheme, name), key, content, mode=mode)["e_tag"]
        except (AlreadyExistsError, PreconditionError, FileNotFoundError):
            # Where the answer to a first try was lost, the next finds what that one wrote.
            there = read_versioned(url)
            return there[1] if there and there[0] == content else None
    folder = Path(key).parent
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f".{Path(key).name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        now = read_versioned(url)
        if (now and now[1]) != version:
            return None
        write_bytes(url, content)
    return hashlib.sha256(content).hexdigest()


def write_json(url: str, record: Mapping[str, Any]) -> None:
    """Write a record as JSON."""
    write_bytes(url, encode_json(record))


def encode_json(record: Mapping[str, Any]) -> bytes:
    """Return a record as JSON, the same bytes whatever order it is in."""
    return json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False).encode()


def read_json(url: str) -> dict[str, Any]:
    """Read a JSON record."""
    return json.loads(read_bytes(url))


def write_table(url: str, table: pa.Table, row_group_size: int = 65_536) -> str:
    """Write a table as one Parquet file; return its SHA-256."""
    with open_atomic(url) as file:
        pq.write_table(table, file, compression="zstd", row_group_size=row_group_size)
        return compute_stream_sha256(file)


def read_table(url: str) -> pa.Table:
    """Read a Parquet file."""
    return pq.read_table(io.BytesIO(read_bytes(url)))


def write_arrays(url: str, arrays: Mapping[str, NDArray[Any]]) -> str:
    """Write arrays by name as one compressed .npz, none of objects; return its SHA-256."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_bytes(url, buffer.getvalue())
    return compute_stream_sha256(buffer)


def read_arrays(url: str) -> dict[str, NDArray[Any]]:
    """Read a .npz; nothing in it is unpickled."""
    with np.load(io.BytesIO(read_bytes(url)), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
