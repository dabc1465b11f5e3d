"""The options with which numba compiles the numerical functions of distspec, and where it keeps them."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from types import ModuleType
from typing import Any

from numba import njit
from numba.core import config
from numba.core.caching import Cache, UserWideCacheLocator
from numba.core.dispatcher import Dispatcher


def provide_cache_folder() -> tempfile.TemporaryDirectory[str] | None:
    """Let numba keep compiled functions in a temporary folder if it has no other one.

    Numba refuses to compile a function with a cache where neither the folder of the package nor the user's
    cache can be written, as in a container without a home folder. The temporary folder belongs to this
    process, since other users could place code in a shared one; its child processes use it, too.

    Returns
    -------
    tempfile.TemporaryDirectory or None
        The folder, which is deleted with this object; None if numba needs none.
    """
    settings: Any = config
    if settings.CACHE_DIR or UserWideCacheLocator.from_function(provide_cache_folder, __file__):
        return None
    folder = tempfile.TemporaryDirectory(prefix="distspec-numba-")
    os.environ["NUMBA_CACHE_DIR"] = settings.CACHE_DIR = folder.name
    return folder


def ignore_cache_errors() -> None:
    """Let numba work without its cache where it cannot read or write a file, as on a full disk.

    Numba itself fails then: the call of the function that it has just compiled raises the error.
    """
    cache_class: Any = Cache
    cache_class._guard_against_spurious_io_errors = lambda _: suppress(OSError)


_cache_folder = provide_cache_folder()
ignore_cache_errors()

njit_nogil = njit(cache=True, nogil=True, error_model="numpy")
"""Compile once per machine, release the interpreter lock, and divide by zero as NumPy does."""


def keep_compiled(*modules: ModuleType) -> None:
    """Let numba keep the compiled functions of another package, which every process compiled again otherwise.

    Parameters
    ----------
    *modules : module
        Modules whose compiled functions are kept from the next compilation on. What they compute is the same.
    """
    for function in (value for module in modules for value in vars(module).values()):
        if isinstance(function, Dispatcher) and function.stats.cache_path is None:
            function.enable_caching()
