"""Listings of folders and buckets, and catalogs that are read completely."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import obstore

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
        If there is no such folder, or if it cannot be listed, as over HTTP.
    """
    scheme = urlsplit(base_url).scheme
    if scheme == "file":
        folder = Path(base_url.removeprefix("file://"))
        if not folder.is_dir():
            raise ArchiveError(f"no folder {folder}: set --archive.url to the folder of the files")
        paths = [path for path in folder.rglob(f"*{suffix}") if path.is_file()]
        return sorted(_stat_local_file(base_url, folder, path) for path in paths)
    if scheme not in storage.OBJECT_STORE_SCHEMES:
        raise ArchiveError(f"{base_url} cannot be listed: name a catalog with --archive.catalog")
    _, name, prefix = storage.split_url(base_url)
    bucket = open_archive_bucket(scheme, name, config)
    root = base_url.rstrip("/").removesuffix(prefix).rstrip("/")
    pages = obstore.list(bucket, prefix or None, chunk_size=1000)
    return sorted(
        ListedFile(f"{root}/{file['path']}", file["size"], (file["e_tag"] or "").strip('"'))
        for page in pages
        for file in page
        if file["path"].endswith(suffix)
    )


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


def _stat_local_file(base_url: str, folder: Path, path: Path) -> ListedFile:
    stat = path.stat()
    return ListedFile(
        f"{base_url}/{path.relative_to(folder)}", stat.st_size, f"{stat.st_size:x}-{stat.st_mtime_ns:x}"
    )
