"""Archives by name: those of this package, and those that other installed packages provide."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from typing import Any

from distspec import archives
from distspec.archives.base import Archive
from distspec.core.entry_points import LoadedEntryPoints, load_entry_points
from distspec.core.errors import ArchiveError

ENTRY_POINT_GROUP = "distspec.archives"
"""Group under which a package declares its archives: ``name = "module:Class"``."""


@lru_cache(maxsize=1)
def builtin_archives() -> Mapping[str, type[Archive]]:
    """Return distspec's own archives by name: every named `Archive` that a module of this package defines."""
    found: dict[str, type[Archive]] = {}
    for module_info in pkgutil.iter_modules(archives.__path__):
        if module_info.ispkg or module_info.name == "registry":
            continue
        module = import_module(f"{archives.__name__}.{module_info.name}")
        for value in vars(module).values():
            if _is_archive(value) and value.__module__ == module.__name__:
                found[value.name] = value
    return found


@lru_cache(maxsize=1)
def _load_external_archives() -> LoadedEntryPoints:
    loaded = load_entry_points(ENTRY_POINT_GROUP, builtin_archives())
    problems = dict(loaded.problems)
    for name, value in loaded.objects.items():
        if not _is_archive(value):
            problems[name] = f"{value!r} is not a subclass of distspec.archives.Archive with a name"
        elif value.name != name:
            problems[name] = f"{value.__qualname__}.name is {value.name!r}, but its entry point is {name!r}"
    objects = {name: value for name, value in loaded.objects.items() if name not in problems}
    return LoadedEntryPoints(objects, problems)


def list_archives() -> Mapping[str, type[Archive]]:
    """Return all archives by name, built in or provided by other packages.

    Returns
    -------
    mapping of str to type
        The class of each archive, by `Archive.name`.
    """
    return {**builtin_archives(), **_load_external_archives().objects}


def get_archive(name: str) -> type[Archive]:
    """Return the class of the archive with a name.

    Parameters
    ----------
    name : str
        `Archive.name`, as a store or a record holds it. "" means spectra of unknown origin, of which
        nothing is measured.

    Returns
    -------
    type
        A subclass of `Archive`.

    Raises
    ------
    ArchiveError
        If no installed package provides this archive, or the package that does cannot be imported.

    Examples
    --------
    >>> get_archive("spex").disperser is not None
    True
    """
    if not name:
        return Archive
    if name in builtin_archives():
        return builtin_archives()[name]
    external = _load_external_archives()
    if name in external.objects:
        return external.objects[name]
    if name in external.problems:
        raise ArchiveError(f"archive {name!r} cannot be used: {external.problems[name]}")
    raise ArchiveError(
        f"archive {name!r} is unknown: install the package that provides it (entry point group "
        f"{ENTRY_POINT_GROUP}); available are {', '.join(sorted(list_archives()))}"
    )


def _is_archive(value: Any) -> bool:
    return (
        isinstance(value, type)
        and issubclass(value, Archive)
        and bool(value.name)
        and not inspect.isabstract(value)
    )
