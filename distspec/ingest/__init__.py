"""Ingest of an archive into the store, apart from Ray: comparing, reading, preprocessing and committing.

It holds the source of a root and its record, the difference between listing and store, the loading of
batches, the settings of new stores and the order of commits. It may import `distspec.archives`,
`distspec.preprocessing`, `distspec.store`, `distspec.io` and `distspec.core`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distspec.ingest.commit import Committer
    from distspec.ingest.diff import ListingDiff, clean_listing, compare_listing
    from distspec.ingest.read import LoadedBatch, load_batch, read_archive_spectra
    from distspec.ingest.source import ArchiveSource, IngestConfig, SourceRecord, read_source, write_source
    from distspec.ingest.store_config import check_store_config, make_store_config, select_pilot_sample

__all__ = [
    "ArchiveSource",
    "Committer",
    "IngestConfig",
    "ListingDiff",
    "LoadedBatch",
    "SourceRecord",
    "check_store_config",
    "clean_listing",
    "compare_listing",
    "load_batch",
    "make_store_config",
    "read_archive_spectra",
    "read_source",
    "select_pilot_sample",
    "write_source",
]

_MODULES = {
    "ArchiveSource": "source",
    "Committer": "commit",
    "IngestConfig": "source",
    "ListingDiff": "diff",
    "LoadedBatch": "read",
    "SourceRecord": "source",
    "check_store_config": "store_config",
    "clean_listing": "diff",
    "compare_listing": "diff",
    "load_batch": "read",
    "make_store_config": "store_config",
    "read_archive_spectra": "read",
    "read_source": "source",
    "select_pilot_sample": "store_config",
    "write_source": "source",
}


def __getattr__(name: str) -> Any:
    """Import public names on first use, so that light modules of the package do not import Zarr and Numba."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
