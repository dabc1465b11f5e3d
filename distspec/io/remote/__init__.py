"""Reading the files of an archive from local folders, web servers and object stores.

It holds the settings of the access, the client with retries and limits, single HTTP requests, and listings.
It imports `distspec.core` and `distspec.io.storage` only.
"""

from distspec.io.remote.config import DEFAULT_ACCESS, AccessConfig, FileContent, ListedFile
from distspec.io.remote.files import (
    ArchiveClient,
    ArchiveFile,
    decompress_gzip,
    is_url_below,
    open_archive_client,
    run_coroutine,
)
from distspec.io.remote.listing import list_folder, read_catalog_bytes

__all__ = [
    "DEFAULT_ACCESS",
    "AccessConfig",
    "ArchiveClient",
    "ArchiveFile",
    "FileContent",
    "ListedFile",
    "decompress_gzip",
    "is_url_below",
    "list_folder",
    "open_archive_client",
    "read_catalog_bytes",
    "run_coroutine",
]
