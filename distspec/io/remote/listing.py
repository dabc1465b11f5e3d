"""What a folder holds, and files read whole: catalogues and listings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import obstore

from distspec.core.errors import InvalidSpectrumError
from distspec.io import storage
from distspec.io.remote.config import AccessConfig, ListedFile
from distspec.io.remote.files import open_archive_client, run_coroutine
from distspec.io.remote.http import open_archive_bucket

CATALOG_TIMEOUT = 3600.0
"""A catalogue may take so long [s]."""


def list_folder(base_url: str, config: AccessConfig, suffix: str = "") -> list[ListedFile]:
    """Return the files below a folder or a bucket's prefix whose names end in `suffix`, by name.

    Raises
    ------
    ValueError
        Where there is no such folder, or it is one that cannot be listed, as over HTTP.
    """
    scheme = urlsplit(base_url).scheme
    if scheme == "file":
        folder = Path(base_url.removeprefix("file://"))
        if not folder.is_dir():
            raise ValueError(f"no folder {folder}: set --archive.url to the one that holds the files")
        paths = [path for path in folder.rglob(f"*{suffix}") if path.is_file()]
        return sorted(_stat_local_file(base_url, folder, path) for path in paths)
    if scheme not in storage.OBJECT_STORE_SCHEMES:
        raise ValueError(f"{base_url} cannot be listed: name a catalogue with --archive.catalog")
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
    """Return a catalogue's bytes, unpacked if gzipped.

    Raises
    ------
    ValueError
        When it cannot be read; the message names the URL.
    """

    async def read() -> bytes:
        async with open_archive_client(url.rpartition("/")[0], config) as files:
            return (await files.get_file(url).read_all()).data

    limit = config.max_catalog_mb
    config = replace(
        config, max_file_mb=limit, max_unpacked_mb=limit, timeout=CATALOG_TIMEOUT, deadline=CATALOG_TIMEOUT
    )
    try:
        return run_coroutine(read())
    except InvalidSpectrumError as error:
        raise ValueError(f"catalogue {url}: {error}") from error


def _stat_local_file(base_url: str, folder: Path, path: Path) -> ListedFile:
    stat = path.stat()
    return ListedFile(
        f"{base_url}/{path.relative_to(folder)}", stat.st_size, f"{stat.st_size:x}-{stat.st_mtime_ns:x}"
    )
