"""How commands end: in one line where something is wrong, soon where told to, each with its own status."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from icechunk import IcechunkError
from obstore.exceptions import BaseError as ObstoreError

from distspec.core.errors import LeaseHeldError

EXPECTED_ERRORS = (ValueError, OSError, RuntimeError, FloatingPointError, IcechunkError, ObstoreError)
"""What ends a command in one line, not a traceback: wrong settings, a full disk, a silent store."""
EXIT_LEASE_HELD, EXIT_TERMINATED = 75, 128 + signal.SIGTERM
"""Exit statuses: try again later (EX_TEMPFAIL), ended by a signal; 1 is any other failure, 2 wrong flags."""


@contextmanager
def exit_on_sigterm() -> Generator[None]:
    """End the block where SIGTERM comes, and the process with `EXIT_TERMINATED`: what is held is let go.

    `ray job stop` sends it, and three seconds later what nobody can hear.
    """
    told = threading.Event()

    def end(*_: Any) -> None:
        told.set()
        sys.exit(EXIT_TERMINATED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except SystemExit as error:
        # Where Ray waited for something it has made status 1 of it.
        raise (SystemExit(EXIT_TERMINATED) if told.is_set() else error) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def report_error(error: Exception) -> SystemExit:
    """Say in one line what ended a command; return the end of it, `HELD` where another works on the root."""
    if not isinstance(error, LeaseHeldError):
        return SystemExit(format_error(error))  # which Python prints, with status 1
    print(format_error(error), file=sys.stderr)
    return SystemExit(EXIT_LEASE_HELD)


def format_error(error: Exception) -> str:
    """Return what a command that failed says of it."""
    said = str(error).partition("\n\nDebug source")[0]  # what obstore adds is for its own makers
    return "error: " + " ".join(said.split())
