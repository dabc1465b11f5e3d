"""How commands end: one line for an error that the user can correct, and an exit status for each ending."""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, redirect_stderr
from typing import Any, TypeVar

from distspec.core.errors import ConfigError, DistspecError, LeaseHeldError, StorageError
from distspec.io.storage import is_disk_full, make_full_disk_error

Parsed = TypeVar("Parsed")

EXIT_LEASE_HELD = LeaseHeldError.exit_status
"""Exit status of a command that found its root in use: try again later (EX_TEMPFAIL of sysexits.h)."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that stop a command in order: from `ray job stop`, Ctrl-C, and a terminal that is closed."""
STORAGE_PACKAGES = ("icechunk", "obstore")
"""Packages whose errors come from a disk or an object store."""


@contextmanager
def exit_on_signal() -> Generator[None]:
    """End the process with 128 + the number of a signal that stops it, after open context managers were left.

    ``ray job stop`` sends SIGTERM, and SIGKILL if the process still runs after ``RAY_JOB_STOP_WAIT_TIME_S``.
    A signal that is ignored, as SIGHUP is below ``nohup``, stays ignored.
    """
    received: list[int] = []

    def stop(signal_number: int, _: Any) -> None:
        received.append(signal_number)
        sys.exit(128 + signal_number)

    previous = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    handled = [number for number, handler in previous.items() if handler is not signal.SIG_IGN]
    for number in handled:
        signal.signal(number, stop)
    try:
        yield
    except BaseException as error:
        if not received:
            raise
        # A SystemExit that passes through Ray's waiting functions comes out with status 1.
        print(
            f"stopped by {signal.Signals(received[0]).name}: run the same command again to continue",
            file=sys.stderr,
        )
        raise SystemExit(128 + received[0]) from error
    finally:
        for number in handled:
            signal.signal(number, previous[number])


@contextmanager
def report_errors() -> Generator[None]:
    """Turn a `DistspecError` into one line on stderr and its exit status; leave other exceptions as they are.

    Errors that icechunk and obstore raise are reported as `StorageError`. Ctrl-C ends with status 130.
    """
    try:
        yield
    except Exception as error:
        user_error = find_user_error(error)
        if user_error is None:
            raise
        print(format_error(user_error), file=sys.stderr)
        raise SystemExit(user_error.exit_status) from error
    except KeyboardInterrupt as interrupt:
        raise SystemExit(128 + signal.SIGINT) from interrupt


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
    if is_disk_full(original):
        return make_full_disk_error(original, "the disk")
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
