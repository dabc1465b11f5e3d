"""What `make test` does if one of its parallel processes ends early.

The test that ran is a failure. The rest of its file runs in a new process, and the summary shows the exit
status and the end of Ray's log.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

N_LINES = 30
"""Number of messages shown of Ray's log."""


class FileScheduling(LoadFileScheduling):
    """The tests of a file run in one process, also after a process has ended early.

    xdist 3.8.0 gives finished files of a lost process to other processes, which then wait forever, and waits
    if a new process has only one test (pytest-dev/pytest-xdist issues 1323 and 1327).
    """

    def remove_node(self, node: Any) -> str | None:
        """Return the tests that a process has not begun to the queue; return the test that ended it."""
        _drop_finished(self.assigned_work[node])
        crashed = super().remove_node(node)
        for tests in self.workqueue.values():
            if crashed in tests:
                tests[crashed] = True  # it has failed, and could end the next process as well
        _drop_finished(self.workqueue)
        return crashed

    def schedule(self) -> None:
        """Give every process at least two tests, or tell it that there are no more."""
        super().schedule()
        for node in self.nodes:
            while self.workqueue and self._pending_of(self.assigned_work[node]) < 2:
                self._assign_work_unit(node)
            if not self.workqueue:
                node.shutdown()


class CrashPlugin:
    """Plugin of the process that distributes the tests."""

    def __init__(self) -> None:
        self._crashes: list[str] = []

    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> FileScheduling | None:
        """Return the scheduler for ``--dist loadfile``."""
        return FileScheduling(config, log) if config.getvalue("dist") == "loadfile" else None

    def pytest_handlecrashitem(self, report: pytest.TestReport) -> None:
        """Keep what is known of the process that ended."""
        process = report.node.gateway._io.popen  # pyright: ignore[reportAttributeAccessIssue]
        self._crashes.append(f"{report.longrepr}: status {process.wait()}\n{_read_ray_logs(process.pid)}")

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Show what is known of each crash."""
        for crash in self._crashes:
            terminalreporter.section("a process of the tests ended early")
            terminalreporter.write_line(crash)


def _drop_finished(files: dict[str, dict[str, bool]]) -> None:
    """Remove files of which all tests have run."""
    for name in [name for name, finished in files.items() if all(finished.values())]:
        del files[name]


def _read_ray_logs(process: int) -> str:
    """Return the last lines of the logs that Ray's library wrote in a process."""
    paths = Path(tempfile.gettempdir()).glob(f"ds-*/session_latest/logs/python-core-driver-*_{process}.log")
    lines = [line for path in paths for line in path.read_text(errors="replace").splitlines()]
    return "\n".join([line for line in lines if line.startswith("[")][-N_LINES:]) or "no log of Ray"
