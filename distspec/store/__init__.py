"""The store of a root: preprocessed spectra with their ledger, quarantine and history, in Icechunk.

It holds the store's layout, reading, transactions, snapshots, verification and export, the assignment of
spectra to sources, and the split of sources into training and validation. It may import `distspec.core` and
`distspec.io`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distspec.store.columns import METADATA_COLUMNS, QUARANTINE_COLUMNS, WITHDRAWAL_COLUMNS
    from distspec.store.config import StoreConfig
    from distspec.store.export import export_zarr
    from distspec.store.snapshots import clone_store, collect_garbage, list_snapshots, tag_snapshot
    from distspec.store.sources import SourceMatcher
    from distspec.store.splits import find_repeat_pairs, is_validation
    from distspec.store.store import Store, create_store, open_store, store_exists
    from distspec.store.transactions import CommitOrigin, CommitRecord, Transaction
    from distspec.store.verify import verify_store

__all__ = [
    "METADATA_COLUMNS",
    "QUARANTINE_COLUMNS",
    "WITHDRAWAL_COLUMNS",
    "CommitOrigin",
    "CommitRecord",
    "SourceMatcher",
    "Store",
    "StoreConfig",
    "Transaction",
    "clone_store",
    "collect_garbage",
    "create_store",
    "export_zarr",
    "find_repeat_pairs",
    "is_validation",
    "list_snapshots",
    "open_store",
    "store_exists",
    "tag_snapshot",
    "verify_store",
]

_MODULES = {
    "METADATA_COLUMNS": "columns",
    "QUARANTINE_COLUMNS": "columns",
    "WITHDRAWAL_COLUMNS": "columns",
    "CommitOrigin": "transactions",
    "CommitRecord": "transactions",
    "SourceMatcher": "sources",
    "Store": "store",
    "StoreConfig": "config",
    "Transaction": "transactions",
    "clone_store": "snapshots",
    "collect_garbage": "snapshots",
    "create_store": "store",
    "export_zarr": "export",
    "find_repeat_pairs": "splits",
    "is_validation": "splits",
    "list_snapshots": "snapshots",
    "open_store": "store",
    "store_exists": "store",
    "tag_snapshot": "snapshots",
    "verify_store": "verify",
}


def __getattr__(name: str) -> Any:
    """Import public names on first use, so that light modules of the package do not import Zarr."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
