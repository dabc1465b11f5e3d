"""How commands end: one line for an error that the user can correct, and an exit status for each ending."""

from __future__ import annotations

import io
import re
import signal
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from typing import Any, TypeVar

from distspec.core.errors import ConfigError, DistspecError, LeaseHeldError, StorageError
from distspec.io.storage import is_disk_full, make_full_disk_error

Parsed = TypeVar("Parsed")

EXIT_USAGE = ConfigError.exit_status
"""Exit status after wrong arguments."""
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


def parse_arguments(parse: Callable[[Sequence[str]], Parsed], args: Sequence[str]) -> Parsed:
    """Parse a command line, and report all of its mistakes at once.

    tyro ends at the first value that it refuses. What is wrong with the other arguments is found by parsing
    again without the options that cause the error.

    Parameters
    ----------
    parse : callable
        Calls tyro with a list of arguments.
    args : sequence of str
        The arguments.

    Raises
    ------
    ConfigError
        If the only mistakes are settings that are out of range.
    SystemExit
        If an argument is unknown or cannot be parsed, after the report; and after ``--help``.
    """
    options = _split_options(args)
    result = _try_parse(parse, options)
    if not isinstance(result, _Mistake):
        return result
    mistakes = [result]
    while culprits := _find_culprits(parse, options, mistakes[-1]):
        options = [option for i, option in enumerate(options) if i not in culprits]
        result = _try_parse(parse, options)
        if not isinstance(result, _Mistake):
            break
        mistakes.append(result)
    messages = [mistake.message for mistake in mistakes if mistake.message]
    reports = [mistake.report for mistake in mistakes if mistake.report]
    if not reports:
        raise ConfigError("; ".join(messages))
    sys.stderr.write("".join([*reports, *(f"error: {message}\n" for message in messages)]))
    raise SystemExit(EXIT_USAGE)


@dataclass(frozen=True)
class _Mistake:
    """The first mistake of a command line: a report of tyro, or the message of a `ConfigError`."""

    report: str = ""
    message: str = ""

    @property
    def is_missing_option(self) -> bool:
        """Whether a required option is missing; the report names all of them, and unknown ones."""
        return "Required options" in self.report


def _split_options(args: Sequence[str]) -> list[list[str]]:
    """Divide arguments into what precedes the first option, and each option with its values."""
    options: list[list[str]] = [[]]
    for word in args:
        if re.match(r"--?[A-Za-z]", word):
            options.append([])
        options[-1].append(word)
    return options


def _try_parse(
    parse: Callable[[Sequence[str]], Parsed], options: Sequence[Sequence[str]]
) -> Parsed | _Mistake:
    """Return the parsed arguments or the first mistake in them; tyro prints its reports and exits."""
    report = io.StringIO()
    try:
        with redirect_stderr(report):
            return parse([word for option in options for word in option])
    except ConfigError as error:
        return _Mistake(message=str(error))
    except SystemExit as stopped:
        if not stopped.code:  # after --help
            raise
        cause = stopped.__context__
        while cause is not None:
            if isinstance(cause, ConfigError):
                return _Mistake(message=str(cause))
            cause = cause.__context__
        return _Mistake(report=report.getvalue())


def _find_culprits(
    parse: Callable[[Sequence[str]], Any], options: Sequence[Sequence[str]], mistake: _Mistake
) -> set[int]:
    """Return the positions of the options without which the mistake is not made, of those that it names."""
    if mistake.is_missing_option:
        return set()
    text = (mistake.report + mistake.message).replace("-", "_")
    named = {
        i
        for i, option in enumerate(options)
        if i and re.search(rf"(?<![a-z]){re.escape(_get_setting_name(option[0]))}(?![a-z])", text)
    }
    return {i for i in named if _try_parse(parse, [*options[:i], *options[i + 1 :]]) != mistake}


def _get_setting_name(flag: str) -> str:
    """Return the name of a setting without its group: "max_epochs" of "--training.max-epochs"."""
    return flag.lstrip("-").removeprefix("no-").rpartition(".")[2].partition("=")[0].replace("-", "_")


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
