"""Where numba keeps compiled functions on machines where little can be written."""

import os
from pathlib import Path

from numba.core import config
from numba.core.caching import UserWideCacheLocator

from distspec.core.compiled import provide_cache_folder


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
