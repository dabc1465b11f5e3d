"""Where numba keeps compiled functions on machines where little can be written."""

import errno
import os
from pathlib import Path

from numba.core import config
from numba.core.caching import IndexDataCacheFile, UserWideCacheLocator

from distspec.core.compiled import njit_nogil, provide_cache_folder


def test_a_folder_is_provided_only_where_the_user_cannot_write(monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")  # restored at the end of the test
    monkeypatch.setattr(config, "CACHE_DIR", "")
    monkeypatch.setattr(UserWideCacheLocator, "from_function", lambda *_: object())
    assert provide_cache_folder() is None
    monkeypatch.setattr(UserWideCacheLocator, "from_function", lambda *_: None)
    folder = provide_cache_folder()
    assert folder is not None
    assert os.environ["NUMBA_CACHE_DIR"] == config.CACHE_DIR == folder.name
    assert Path(folder.name).stat().st_mode & 0o077 == 0, "others cannot place code in it"
    assert provide_cache_folder() is None, "a folder that is set is kept"
    folder.cleanup()


def test_a_function_works_although_its_compiled_form_cannot_be_kept(monkeypatch):
    def fail(*_):
        failures.append(OSError(errno.ENOSPC, "No space left on device"))
        raise failures[0]

    failures = []
    monkeypatch.setattr(IndexDataCacheFile, "load", fail)
    monkeypatch.setattr(IndexDataCacheFile, "save", fail)
    assert njit_nogil(_double)(21) == 42
    assert len(failures) == 2


def _double(number):
    return 2 * number
