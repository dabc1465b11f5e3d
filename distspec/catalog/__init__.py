"""The published catalog: construction, editions, persistent classes, SQL queries and export.

The package builds the tables of a run, publishes them as editions that are never overwritten, follows
classes from run to run, and answers SQL. It may import ``anomaly``, ``labels``, ``models`` and everything
below them. Names are imported when they are first used, so that importing the package loads neither torch
nor DuckDB.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distspec.catalog.build import build_tables
    from distspec.catalog.config import CatalogConfig
    from distspec.catalog.editions import (
        EditionRecord,
        find_record,
        open_tables,
        publish,
        read_current_record,
        read_edition_records,
    )
    from distspec.catalog.hats import export_hats
    from distspec.catalog.queries import query, save_query
    from distspec.catalog.reclassify import publish_label_predictions
    from distspec.catalog.runs import load_run

__all__ = [
    "CatalogConfig",
    "EditionRecord",
    "build_tables",
    "export_hats",
    "find_record",
    "load_run",
    "open_tables",
    "publish",
    "publish_label_predictions",
    "query",
    "read_current_record",
    "read_edition_records",
    "save_query",
]

_MODULES = {
    "CatalogConfig": "config",
    "EditionRecord": "editions",
    "build_tables": "build",
    "export_hats": "hats",
    "find_record": "editions",
    "load_run": "runs",
    "open_tables": "editions",
    "publish": "editions",
    "publish_label_predictions": "reclassify",
    "query": "queries",
    "read_current_record": "editions",
    "read_edition_records": "editions",
    "save_query": "queries",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
