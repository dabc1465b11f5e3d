"""A test whose process is ended by native code is repeated, once in a session."""

import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = """
from tests.helpers.crashes import CrashPlugin

def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(CrashPlugin())
"""
CRASH = """
import os
from pathlib import Path

def test_before(): pass

def test_crash():
    crashes = Path(__file__).with_suffix(".crashes")
    crashes.open("a").write("x")
    if len(crashes.read_text()) <= {n_crashes}:
        os.kill(os.getpid(), 9)

def test_after(): pass
"""


@pytest.mark.parametrize(
    ("n_crashes", "outcome", "status"), [(1, "14 passed, 1 rerun", 0), (2, "1 failed, 14 passed, 1 rerun", 1)]
)
def test_the_first_crash_is_no_failure(tmp_path, n_crashes, outcome, status):
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_crash.py").write_text(CRASH.format(n_crashes=n_crashes))
    for number in range(11):
        (tmp_path / f"test_{number}.py").write_text("def test(): pass")
    options = [
        "-p",
        "no:cacheprovider",
        "--numprocesses",
        "2",
        "--dist",
        "loadfile",
        "--no-loadscope-reorder",
    ]
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", f"--rootdir={tmp_path}", *options, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert outcome in ended.stdout
    assert ended.returncode == status
    assert "crashed while running 'test_crash.py::test_crash': status -9" in ended.stdout
