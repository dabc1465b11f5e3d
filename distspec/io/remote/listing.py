"""What a folder holds, and files read whole: catalogues and listings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import obstore

from distspec.core.errors import BadSpectrumError
from distspec.io import storage
from distspec.io.remote.config import AccessConfig, Listed
from distspec.io.remote.files import open_files, run
from distspec.io.remote.http import archive_bucket

LONGEST = 3600.0
"""A catalogue may take so long [s]."""


def list_folder(base: str, config: AccessConfig, suffix: str = "") -> list[Listed]:
    """Return the files below a folder or a bucket's prefix whose names end in `suffix`, by name.

    Raises
    ------
    ValueError
        Where there is no such folder, or it is one that cannot be listed, as over HTTP.
    """
    scheme = urlsplit(base).scheme
    if scheme == "file":
        folder = Path(base.removeprefix("file://"))
        if not folder.is_dir():
            raise ValueError(f"no folder {folder}: set --archive.url to the one that holds the files")
        paths = [path for path in folder.rglob(f"*{suffix}") if path.is_file()]
        return sorted(_on_disk(base, folder, path) for path in paths)
    if scheme not in storage.CLOUDS:
        raise ValueError(f"{base} cannot be listed: name a catalogue with --archive.catalog")
    _, name, prefix = storage.split(base)
    bucket = archive_bucket(scheme, name, config)
    root = base.rstrip("/").removesuffix(prefix).rstrip("/")
    pages = obstore.list(bucket, prefix or None, chunk_size=1000)
    return sorted(
        Listed(f"{root}/{file['path']}", file["size"], (file["e_tag"] or "").strip('"'))
        for page in pages
        for file in page
        if file["path"].endswith(suffix)
    )


def read_whole(url: str, config: AccessConfig) -> bytes:
    """Return a catalogue's bytes, unpacked if gzipped.

    Raises
    ------
    ValueError
        When it cannot be read; the message names the URL.
    """

    async def read() -> bytes:
        async with open_files(url.rpartition("/")[0], config) as files:
            return (await files.file(url).whole()).data

    limit = config.max_catalog_mb
    config = replace(config, max_file_mb=limit, max_unpacked_mb=limit, timeout=LONGEST, deadline=LONGEST)
    try:
        return run(read())
    except BadSpectrumError as error:
        raise ValueError(f"catalogue {url}: {error}") from error


def _on_disk(base: str, folder: Path, path: Path) -> Listed:
    stat = path.stat()
    return Listed(
        f"{base}/{path.relative_to(folder)}", stat.st_size, f"{stat.st_size:x}-{stat.st_mtime_ns:x}"
    )
