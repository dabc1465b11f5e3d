"""Gives drivers of jobs a clock whose error [s] is in the file ~/clock; Python imports this at its start."""

import contextlib
import sys
import time
from pathlib import Path

if sys.orig_argv[1:2] == ["-m"] and sys.orig_argv[2].startswith("jobs."):
    _file, _correct_time = Path.home() / "clock", time.time

    def _get_time() -> float:
        with contextlib.suppress(OSError, ValueError):
            return _correct_time() + float(_file.read_text())
        return _correct_time()

    time.time = _get_time
