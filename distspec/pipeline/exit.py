"""How commands end: one line for an error that the user can correct, and an exit status for each ending."""

from __future__ import annotations

import io
import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, redirect_stderr
from typing import Any, TypeVar

from distspec.core.errors import ConfigError, DistspecError, LeaseHeldError, StorageError

Parsed = TypeVar("Parsed")

EXIT_LEASE_HELD = LeaseHeldError.exit_status
"""Exit status of a command that found its root in use: try again later (EX_TEMPFAIL of sysexits.h)."""
EXIT_TERMINATED = 128 + signal.SIGTERM
"""Exit status of a command that SIGTERM has ended."""
STORAGE_PACKAGES = ("icechunk", "obstore")
"""Packages whose errors come from a disk or an object store."""


@contextmanager
def exit_on_sigterm() -> Generator[None]:
    """End the process with `EXIT_TERMINATED` when SIGTERM comes, after open context managers have been left.

    ``ray job stop`` sends SIGTERM, and SIGKILL three seconds later.
    """
    terminated = threading.Event()

    def terminate(*_: Any) -> None:
        terminated.set()
        sys.exit(EXIT_TERMINATED)

    previous_handler = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except SystemExit as error:
        # A SystemExit that passes through Ray's waiting functions comes out with status 1.
        raise (SystemExit(EXIT_TERMINATED) if terminated.is_set() else error) from None
    finally:
        signal.signal(signal.SIGTERM, previous_handler)


@contextmanager
def report_errors() -> Generator[None]:
    """Turn a `DistspecError` into one line on stderr and its exit status; leave other exceptions as they are.

    Errors that icechunk and obstore raise are reported as `StorageError`.
    """
    try:
        yield
    except Exception as error:
        user_error = find_user_error(error)
        if user_error is None:
            raise
        print(format_error(user_error), file=sys.stderr)
        raise SystemExit(user_error.exit_status) from error


def parse_arguments(parse: Callable[[], Parsed]) -> Parsed:
    """Call a parser of the command line, and raise the error of a setting that is out of range.

    tyro prints such an error as part of a report of its own, and exits.

    Parameters
    ----------
    parse : callable
        Calls tyro.

    Raises
    ------
    ConfigError
        If a setting is out of range.
    SystemExit
        If an argument is unknown or cannot be parsed, after tyro's report; and after ``--help``.
    """
    report = io.StringIO()
    try:
        with redirect_stderr(report):
            return parse()
    except SystemExit as stopped:
        cause = stopped.__context__
        while cause is not None:
            if isinstance(cause, ConfigError):
                raise cause from None
            cause = cause.__context__
        sys.stderr.write(report.getvalue())
        raise


def find_user_error(error: Exception) -> DistspecError | None:
    """Return the `DistspecError` that an exception is, wraps or corresponds to; None for any other exception.

    Parameters
    ----------
    error : Exception
        May be a ``RayTaskError``, which holds the worker's exception as its ``cause``.
    """
    cause = getattr(error, "cause", None)
    original = cause if isinstance(cause, Exception) else error
    if isinstance(original, DistspecError):
        return original
    if type(original).__module__.partition(".")[0] in STORAGE_PACKAGES:
        return StorageError(str(original))
    return None


def format_error(error: Exception) -> str:
    """Return an error as one line.

    Parameters
    ----------
    error : Exception
        The error; line breaks in its message become spaces.
    """
    message = str(error).partition("\n\nDebug source")[0]  # obstore appends its own stack
    return "error: " + " ".join(message.split())
