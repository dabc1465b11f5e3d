"""Archives of spectra: how spectra are listed and read, and which measurements are made on them.

The package has one module per archive, the base class (`base`), the lookup by name (`registry`), the reader
of loose files (`external`) and a simulated archive (`simulated`). It may import `distspec.core`,
`distspec.io` and `distspec.measurements`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distspec.archives.base import LISTING_SCHEMA, Archive, SpectrumEntry, build_spectrum_from_errors
from distspec.archives.catalogs import (
    build_listing,
    find_etags,
    find_path_template,
    make_absolute_url,
    read_catalog,
)

if TYPE_CHECKING:
    from distspec.archives.registry import get_archive, list_archives

__all__ = [
    "LISTING_SCHEMA",
    "Archive",
    "SpectrumEntry",
    "build_listing",
    "build_spectrum_from_errors",
    "find_etags",
    "find_path_template",
    "get_archive",
    "list_archives",
    "make_absolute_url",
    "read_catalog",
]


def __getattr__(name: str) -> Any:
    """Import the registry, which imports every archive, on first use."""
    if name in ("get_archive", "list_archives"):
        from distspec.archives import registry

        return getattr(registry, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
