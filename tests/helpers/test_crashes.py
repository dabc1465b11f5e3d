"""A test that ends its process is a failure, and does not keep others from running."""

import os
import subprocess
import sys
from pathlib import Path

CONFTEST = """
from tests.helpers.crashes import CrashPlugin

def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(CrashPlugin())
"""
CRASH = """
import os

def test_before(): pass

def test_crash():
    os.kill(os.getpid(), 9)

def test_after(): pass
"""


def test_all_other_tests_run_after_a_crash(tmp_path):
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_crash.py").write_text(CRASH)
    for number in range(11):
        (tmp_path / f"test_{number}.py").write_text("def test(): pass")
    options = [
        "-p",
        "xdist.plugin",
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
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},  # other plugins take seconds to import
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "1 failed, 13 passed" in ended.stdout
    assert ended.returncode == 1
    assert "crashed while running 'test_crash.py::test_crash': status -9" in ended.stdout
