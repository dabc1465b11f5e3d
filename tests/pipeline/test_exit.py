"""How commands end: stopped by a signal, refused by a lease, with a user's error or an internal one."""

import errno
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest
from obstore.exceptions import PermissionDeniedError

from distspec.core.errors import ConfigError, StorageError, StoreError
from distspec.io.job_log import list_jobs, read_events
from distspec.io.lease import hold_lease, read_holder
from distspec.pipeline.exit import (
    EXIT_LEASE_HELD,
    STOP_SIGNALS,
    exit_on_signal,
    find_user_error,
    format_error,
    report_errors,
)

SMALL = ("--simulation.n-spectra", "80", "--grid.n-pixels", "64", "--training.max-epochs", "400")


PIPELINE = (sys.executable, "-m", "jobs.pipeline")
COMMAND = (sys.executable, "-c", "from distspec.cli.main import main; main()", "run")


def start_pipeline(root, *flags, command=PIPELINE):
    arguments = [*command, "demo", "--root", str(root), *SMALL, *flags]
    return subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env=dict(os.environ))


@pytest.mark.slow  # `tests/cluster` stops a submitted job
@pytest.mark.parametrize(
    ("command", "number"),
    [(PIPELINE, signal.SIGTERM), (PIPELINE, signal.SIGINT), (COMMAND, signal.SIGINT)],
)
def test_a_stopped_job_releases_the_root_and_is_resumed(tmp_path, command, number):
    with start_pipeline(tmp_path, command=command) as job:
        for line in job.stderr:
            if "ingest " in line:
                break
        time.sleep(4.0)  # the training has started
        job.send_signal(number)
        start = time.monotonic()
        output = job.communicate(timeout=30)[1]
    assert job.returncode == 128 + number
    assert time.monotonic() - start < 30
    assert "Traceback" not in output
    assert output.splitlines()[-1] == f"stopped by {number.name}: run the same command again to continue"
    assert read_holder(str(tmp_path)).released
    [last] = list_jobs(str(tmp_path))
    assert (last.status, last.error) == ("stopped", "stopped by a signal")
    assert list_finished_stages(tmp_path, 1) == ["simulate", "ingest"]
    with start_pipeline(tmp_path, command=(sys.executable, "-m", "jobs.train")) as job:
        output = job.communicate(timeout=180)[1]
    assert job.returncode == 0, output
    assert list_finished_stages(tmp_path, 2) == ["train"]


def list_finished_stages(root, job_number):
    events = read_events(str(root), job_number)
    return [event.payload["stage"] for event in events if event.event_type == "stage"]


@pytest.fixture
def default_handlers():
    """Signal handlers as in a new process; pytest and Ray set others."""
    previous = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    for number in STOP_SIGNALS:
        signal.signal(number, signal.default_int_handler)
    yield
    for number, handler in previous.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_leaves_the_open_contexts_and_has_its_status(number, default_handlers, capsys):
    left = []

    def work():
        with ExitStack() as stack:
            stack.callback(left.append, "context")
            try:
                os.kill(os.getpid(), number)
            except SystemExit:
                raise SystemExit(1) from None  # as it comes out of Ray

    with pytest.raises(SystemExit) as stopped, exit_on_signal():
        work()
    assert stopped.value.code == 128 + number
    assert left == ["context"]
    assert capsys.readouterr().err == f"stopped by {number.name}: run the same command again to continue\n"
    assert signal.getsignal(number) is signal.default_int_handler


def test_an_ignored_signal_stays_ignored(default_handlers):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with exit_on_signal():
        os.kill(os.getpid(), signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_other_exits_are_left_as_they_are(default_handlers):
    with pytest.raises(SystemExit) as stopped, exit_on_signal():
        raise SystemExit(2)
    assert stopped.value.code == 2


def test_a_root_in_use_has_an_exit_status_of_its_own(tmp_path):
    with hold_lease(str(tmp_path), "another"), start_pipeline(tmp_path) as job:
        output = job.communicate(timeout=120)[1]
    assert job.returncode == EXIT_LEASE_HELD
    assert "is held by another on" in output
    assert "Traceback" not in output
    assert list_jobs(str(tmp_path)) == []


def test_a_user_error_is_one_line_with_its_status(capsys):
    for error, status in ((ConfigError("seed -1\nis negative"), 2), (StoreError("no store"), 1)):
        with pytest.raises(SystemExit) as stopped, report_errors():
            raise error
        assert stopped.value.code == status
        assert capsys.readouterr().err == f"error: {' '.join(str(error).split())}\n"


def test_ctrl_c_ends_a_command_without_a_traceback():
    with pytest.raises(SystemExit) as stopped, report_errors():
        raise KeyboardInterrupt
    assert stopped.value.code == 130


def test_an_internal_error_keeps_its_traceback():
    for error in (ValueError("wrong"), RuntimeError("wrong"), OSError("wrong"), KeyError("wrong")):
        with pytest.raises(type(error)), report_errors():
            raise error


def test_errors_of_workers_and_of_object_stores_are_recognized():
    worker_error = ConfigError("in a worker")
    assert find_user_error(RuntimeError("plain")) is None
    wrapped = RuntimeError("ray")
    wrapped.cause = worker_error
    assert find_user_error(wrapped) is worker_error
    found = find_user_error(PermissionDeniedError("denied\n\nDebug source: 1"))
    assert isinstance(found, StorageError)
    assert format_error(found) == "error: denied"


def test_a_full_disk_is_a_user_error_with_the_name_of_the_file():
    found = find_user_error(OSError(errno.ENOSPC, "No space left on device", "/disk/file"))
    assert isinstance(found, StorageError)
    assert found.exit_status == 1
    assert str(found).startswith("/disk/file: No space left on device: free some space")
