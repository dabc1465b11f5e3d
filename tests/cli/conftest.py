"""The command ``distspec`` in the test's own process."""

from __future__ import annotations

import re

import pytest

from distspec.cli.main import main


class Command:
    """Runs verbs with some arguments that are always appended, and returns what they print."""

    def __init__(self, capture: pytest.CaptureFixture[str], *appended: str) -> None:
        self._capture, self._appended = capture, appended

    def __call__(self, *args: str) -> str:
        self._capture.readouterr()
        main([*args, *self._appended])
        return self._capture.readouterr().out

    def fails(self, *args: str, match: str, status: int) -> None:
        """Check that a verb ends with a message on stderr and an exit status."""
        self._capture.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main([*args, *self._appended])
        message = self._capture.readouterr().err
        assert stopped.value.code == status
        assert re.search(match, message), message
        assert "Traceback" not in message

    def at(self, root: str) -> Command:
        """Return the command for a root."""
        return Command(self._capture, "--root", root)


@pytest.fixture
def distspec(capfd) -> Command:
    return Command(capfd)
