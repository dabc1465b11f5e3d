"""Listings of folders and buckets, and catalogs that are read completely."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError as ObstoreError

from distspec.core.errors import ArchiveError, InvalidSpectrumError
from distspec.io import storage
from distspec.io.remote.config import AccessConfig, ListedFile
from distspec.io.remote.files import open_archive_client, run_coroutine
from distspec.io.remote.http import open_archive_bucket

CATALOG_TIMEOUT = 3600.0
"""Maximum time to read a catalog [s]."""


def list_folder(base_url: str, config: AccessConfig, suffix: str = "") -> list[ListedFile]:
    """List the files below a folder or bucket prefix, sorted by URL.

    Parameters
    ----------
    base_url : str
        URL of the folder, or of a bucket and prefix.
    config : AccessConfig
        Settings of the access.
    suffix : str
        Ending of the names of the listed files; empty: all.

    Returns
    -------
    list of ListedFile
        Files with their URLs and ETags.

    Raises
    ------
    ArchiveError
        If there is no such folder, or if it or a part of it cannot be listed, as over HTTP.

    Notes
    -----
    Links to files and folders are followed, also to places outside the folder: whoever can write to it
    decides what is in the archive. URLs contain the name of the link. Each folder is listed once, under its
    own name if it has one below `base_url`. A link to a missing file is listed with the ETag "", so that
    reading it reports the file as not found; any other link without a target is an error.
    """
    scheme = urlsplit(base_url).scheme
    if scheme == "file":
        folder = Path(base_url.removeprefix("file://"))
        if not folder.is_dir():
            raise ArchiveError(f"no folder {folder}: set --archive.url to the folder of the files")
        return sorted(_iter_local_files(base_url, folder, suffix))
    if scheme not in storage.OBJECT_STORE_SCHEMES:
        raise ArchiveError(f"{base_url} cannot be listed: name a catalog with --archive.catalog")
    _, name, prefix = storage.split_url(base_url)
    bucket = open_archive_bucket(scheme, name, config)
    root = base_url.rstrip("/").removesuffix(prefix).rstrip("/")
    pages = obstore.list(bucket, prefix or None, chunk_size=1000)
    try:
        return sorted(
            ListedFile(f"{root}/{file['path']}", file["size"], (file["e_tag"] or "").strip('"'))
            for page in pages
            for file in page
            if file["path"].endswith(suffix)
        )
    except (ObstoreError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ArchiveError(
            f"{base_url} could not be listed completely ({reason}): nothing was changed; check the access, "
            "then run this again"
        ) from error


def read_catalog_bytes(url: str, config: AccessConfig) -> bytes:
    """Return the content of a catalog, uncompressed if it is gzipped.

    Parameters
    ----------
    url : str
        URL of the file.
    config : AccessConfig
        Settings of the access, and the limit on its size.

    Returns
    -------
    bytes

    Raises
    ------
    ArchiveError
        If it cannot be read; the message names the URL.
    """

    async def read() -> bytes:
        async with open_archive_client(url.rpartition("/")[0], config) as client:
            return (await client.get_file(url).read_all()).data

    limit = config.max_catalog_mb
    config = replace(
        config, max_file_mb=limit, max_unpacked_mb=limit, timeout=CATALOG_TIMEOUT, deadline=CATALOG_TIMEOUT
    )
    try:
        return run_coroutine(read())
    except InvalidSpectrumError as error:
        raise ArchiveError(f"catalog {url}: {error}") from error


def _iter_local_files(base_url: str, folder: Path, suffix: str) -> Generator[ListedFile]:
    """Yield the files below a folder; links to folders are followed after all other folders."""
    own, linked, seen = deque([str(folder)]), deque[str](), set[tuple[int, int]]()
    while own or linked:
        parent = (own or linked).popleft()
        try:
            parent_stat = os.stat(parent)  # noqa: PTH116 - os.scandir needs text paths
            if (parent_stat.st_dev, parent_stat.st_ino) in seen:
                continue
            seen.add((parent_stat.st_dev, parent_stat.st_ino))
            with os.scandir(parent) as found:
                entries = sorted(found, key=lambda entry: entry.name)
            for entry in entries:
                if entry.is_dir():
                    (linked if entry.is_symlink() else own).append(entry.path)
                elif (entry.is_file() or entry.is_symlink()) and (
                    file := _stat_local_file(base_url, folder, entry, suffix)
                ) is not None:
                    yield file
        except OSError as error:
            raise ArchiveError(
                f"{error.filename or parent} cannot be listed ({error.strerror}): nothing was changed; make "
                "it readable or remove it, then run this again"
            ) from error


def _stat_local_file(base_url: str, folder: Path, entry: os.DirEntry[str], suffix: str) -> ListedFile | None:
    """Return a file or a link as listed; None if its name has another suffix."""
    is_wanted = entry.name.endswith(suffix)
    url = f"{base_url}/{Path(entry.path).relative_to(folder)}"
    try:
        if not (is_wanted or entry.is_symlink()):
            return None
        stat = entry.stat()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ELOOP):
            raise
        if not entry.is_symlink():  # removed since the folder was listed
            return None
        if is_wanted:
            return ListedFile(url, 0, "")
        if entry.name.startswith("."):  # such as the locks of editors
            return None
        raise ArchiveError(
            f"the link {entry.path} has no target, so that its content cannot be listed: nothing was "
            "changed; restore the target (is a disk not mounted?) or remove the link"
        ) from error
    return ListedFile(url, stat.st_size, f"{stat.st_size:x}-{stat.st_mtime_ns:x}") if is_wanted else None
