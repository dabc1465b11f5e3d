"""Reaching an archive's files, wherever they are and whatever is wrong with them."""

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
