"""The explorer: a local web page to browse a catalog and to label spectra.

The package serves a static WebGL page on the loopback address, answers its requests from the published
catalog, and saves annotations. It may import ``catalog`` and everything below it. Names are imported when
they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distspec.explorer.app import make_app
    from distspec.explorer.data import ExplorerData, open_explorer_data
    from distspec.explorer.server import serve
    from distspec.explorer.session import AnnotationSession, open_annotation_session

__all__ = [
    "AnnotationSession",
    "ExplorerData",
    "make_app",
    "open_annotation_session",
    "open_explorer_data",
    "serve",
]

_MODULES = {
    "AnnotationSession": "session",
    "ExplorerData": "data",
    "make_app": "app",
    "open_annotation_session": "session",
    "open_explorer_data": "data",
    "serve": "server",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
