"""A Ray worker that aborts while it exits loses nothing.

To exit, a worker creates OpenCensus's ``DeltaProducer``, whose constructor starts a thread before it
initializes the mutex that this thread locks 0.1 s later. If the constructor is interrupted for longer, the
thread locks what the memory held before, and the process may abort. The test delays the constructor and fills
new memory, so that this happens whenever Ray ends an idle worker. If no worker aborts, Ray has corrected the
fault: remove this file, the helper and the section of docs/guides/clusters.md.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from distspec.catalog import editions
from tests.helpers.small_demo import SMALL

HELPERS = Path(__file__).parents[1] / "helpers"
FILL_BYTE = 158
"""glibc fills new memory with its complement, the letter a: in a mutex, a waiting writer and no waiters."""


@pytest.mark.slow
def test_workers_that_abort_at_their_exit_lose_nothing(demo_folder, tmp_path):
    compiler = shutil.which("cc")
    if not compiler or sys.platform != "linux":
        pytest.skip("needs Linux and a C compiler")
    library = tmp_path / "slow_threads.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", library, HELPERS / "slow_threads.c", "-ldl"], check=True
    )
    root = tmp_path / "root"
    with tempfile.TemporaryDirectory(prefix="ds-", dir="/tmp") as folder:
        command = [Path(sys.executable).with_name("distspec"), "run", "demo", "--root", root, *SMALL]
        subprocess.run(
            [*command, "--ray.temp-dir", folder],
            env={**os.environ, "LD_PRELOAD": str(library), "MALLOC_PERTURB_": str(FILL_BYTE)},
            check=True,
        )
        logs = Path(folder).glob("session_*_*/logs/worker-*.err")
        aborted = [log.name for log in logs if "Mutex corrupt" in log.read_text(errors="replace")]
    assert aborted, "no worker aborted"
    tables, expected = (
        editions.open_tables(str(url))["objects"].to_table() for url in (root, demo_folder / "out" / "demo")
    )
    assert tables.equals(expected)
