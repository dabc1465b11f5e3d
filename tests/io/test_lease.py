"""Test that a lease admits one writer, and that another can take over from a dead one."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from distspec.core.errors import LeaseHeldError, LeaseLostError, StorageError
from distspec.io import lease as lease_module
from distspec.io.files import write_json
from distspec.io.lease import (
    LEASE_TIMEOUT,
    Lease,
    LeaseHolder,
    acquire_lease,
    force_release,
    hold_lease,
    read_holder,
)

T0 = 1.8e9


class Clock:
    """Replacement of the module `time`."""

    def __init__(self) -> None:
        self.now = T0

    CLOCK_MONOTONIC = 1
    offset = 0.0
    """Difference between the wall clock and the time that has passed [s]."""
    on_sleep: Callable[[], None] = staticmethod(lambda: None)

    def time(self) -> float:
        return self.now + self.offset

    def clock_gettime(self, _: int) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.on_sleep()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(lease_module, "time", clock)
    return clock


def read(root: Path) -> LeaseHolder:
    holder = read_holder(str(root))
    assert holder is not None
    return holder


def overwrite(root: Path, holder: LeaseHolder) -> None:
    """Write another job's lease."""
    write_json(str(root / "lease.json"), {**holder.to_json(), "nonce": "x"})


REMOTE = LeaseHolder(
    token=41,
    operation="ingest",
    host="elsewhere",
    boot_id="b",
    pid=1,
    process_started=T0 - 90.0,
    acquired=T0 - 80.0,
    renewed=T0 - 1.0,
)
"""A job on another machine that renewed its lease one second ago."""


def test_the_lease_is_held_within_the_block(tmp_path):
    with hold_lease(str(tmp_path), "ingest") as lease:
        lease.check_held()
        holder = read(tmp_path)
        assert (holder.operation, holder.pid, holder.released) == ("ingest", os.getpid(), False)
        with pytest.raises(LeaseHeldError, match=rf"is held by ingest on .*, process {os.getpid()}, since"):
            acquire_lease(str(tmp_path), "gc")
    assert read(tmp_path).released
    with hold_lease(str(tmp_path), "gc"):
        assert read(tmp_path).operation == "gc"


def test_the_lease_is_released_if_the_block_fails(tmp_path):
    with pytest.raises(KeyError), hold_lease(str(tmp_path), "ingest"):
        raise KeyError
    assert read(tmp_path).released


def test_tokens_increase(tmp_path):
    tokens = []
    for _ in range(3):
        with hold_lease(str(tmp_path), "ingest") as lease:
            tokens.append(lease.token)
    assert tokens == [1, 2, 3]


def test_a_root_without_a_lease_has_no_holder(tmp_path):
    assert read_holder(str(tmp_path)) is None


def test_a_live_holder_on_another_host_keeps_the_lease(tmp_path, clock):
    overwrite(tmp_path, REMOTE)
    with pytest.raises(LeaseHeldError, match=r"ingest on elsewhere, process 1, .* expires in 59 s"):
        acquire_lease(str(tmp_path), "ingest")


def test_a_lease_that_is_not_renewed_expires(tmp_path, clock):
    overwrite(tmp_path, REMOTE)
    clock.now += LEASE_TIMEOUT - 2.0
    with pytest.raises(LeaseHeldError, match="is held by"):
        acquire_lease(str(tmp_path), "ingest")
    clock.now += 2.0
    start = clock.now
    with hold_lease(str(tmp_path), "ingest") as lease:
        assert lease.token == 42
    assert clock.now - start > LEASE_TIMEOUT, "it was watched before it was taken"


@pytest.mark.parametrize("offset", [3600.0, -3600.0])
def test_a_lease_is_not_taken_because_clocks_differ(tmp_path, clock, offset):
    overwrite(tmp_path, REMOTE)
    clock.offset = offset
    clock.on_sleep = lambda: overwrite(tmp_path, replace(REMOTE, renewed=clock.now))
    with pytest.raises(LeaseHeldError, match=r"ingest on elsewhere.*clocks of that host and of this one"):
        acquire_lease(str(tmp_path), "ingest")


def test_a_lease_that_is_released_while_it_is_watched_is_taken(tmp_path, clock):
    overwrite(tmp_path, REMOTE)
    clock.offset = 3600.0
    clock.on_sleep = lambda: overwrite(tmp_path, replace(REMOTE, released=True))
    with hold_lease(str(tmp_path), "ingest") as lease:
        assert lease.token == 42


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_a_jump_of_the_clock_does_not_end_a_lease(tmp_path, clock, jump):
    with hold_lease(str(tmp_path), "ingest") as lease:
        clock.offset = jump
        lease.check_held()


@pytest.mark.parametrize("namespace", ["pid:[1]", ""])
def test_a_process_number_of_another_container_does_not_free_the_lease(tmp_path, namespace):
    with hold_lease(str(tmp_path), "ingest"):
        current = read(tmp_path)
    overwrite(tmp_path, replace(current, released=False, pid=2**22, pid_namespace=namespace))
    with pytest.raises(LeaseHeldError, match="is held by"):
        acquire_lease(str(tmp_path), "ingest")


def test_force_release_ends_the_lease_of_a_live_holder(tmp_path):
    assert force_release(str(tmp_path)) is None
    lease = acquire_lease(str(tmp_path), "ingest")
    assert force_release(str(tmp_path)).operation == "ingest"
    assert force_release(str(tmp_path)) is None
    with hold_lease(str(tmp_path), "gc"):
        lease._write(released=False)
        with pytest.raises(LeaseLostError):
            lease.check_held()
    lease.release()


def test_the_lease_of_a_killed_process_of_this_host_is_free_at_once(tmp_path):
    code = (
        "import sys; from distspec.io.lease import acquire_lease; "
        "acquire_lease(sys.argv[1], 'ingest'); print('held'); input()"
    )
    command = [sys.executable, "-u", "-c", code, str(tmp_path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(LeaseHeldError, match=f"process {process.pid}"):
        acquire_lease(str(tmp_path), "ingest")
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, but still a zombie
    with hold_lease(str(tmp_path), "ingest") as lease:
        assert lease.token == 2
    process.communicate()


def test_a_reused_process_number_is_not_the_holder(tmp_path):
    with hold_lease(str(tmp_path), "ingest"):
        current = read(tmp_path)
    overwrite(tmp_path, replace(current, released=False, process_started=current.process_started - 100.0))
    with hold_lease(str(tmp_path), "ingest") as lease:
        assert lease.token == 2


def test_a_process_number_from_another_boot_does_not_free_the_lease(tmp_path):
    """The process may run in another container with the same host name, so only the timeout counts."""
    with hold_lease(str(tmp_path), "ingest"):
        current = read(tmp_path)
    overwrite(tmp_path, replace(current, released=False, boot_id="another", pid=2**22))
    with pytest.raises(LeaseHeldError, match="is held by"):
        acquire_lease(str(tmp_path), "ingest")


def test_the_lease_is_renewed(tmp_path, monkeypatch):
    monkeypatch.setattr(lease_module, "RENEW_INTERVAL", 0.02)
    renewed = threading.Event()
    original = Lease._write

    def write(self: Lease, released: bool) -> None:
        original(self, released)
        renewed.set()

    monkeypatch.setattr(Lease, "_write", write)
    with hold_lease(str(tmp_path), "ingest") as lease:
        first = read(tmp_path).renewed
        renewed.clear()  # it may have been renewed before it was read
        assert renewed.wait(10.0)
        assert read(tmp_path).renewed > first
        lease.check_held()


def test_the_former_holder_notices_that_its_lease_was_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(lease_module, "RENEW_INTERVAL", 0.02)
    lease = acquire_lease(str(tmp_path), "ingest")
    overwrite(tmp_path, REMOTE)
    lease._renewer.join(10.0)
    with pytest.raises(LeaseLostError, match="was lost to another job"):
        lease.check_held()
    lease.release()
    assert read(tmp_path) == REMOTE, "the former holder does not release the new holder's lease"


def test_a_holder_that_cannot_renew_may_not_commit(tmp_path, clock, monkeypatch):
    """A process that was suspended, or whose object store did not answer, has lost its lease."""
    monkeypatch.setattr(lease_module, "RENEW_INTERVAL", 0.02)
    lease = acquire_lease(str(tmp_path), "ingest")
    attempted = threading.Event()

    def refuse(*_: object) -> None:
        attempted.set()
        raise OSError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(lease_module, "compare_and_swap", refuse)
        assert attempted.wait(10.0)
        lease.check_held()
        clock.now += LEASE_TIMEOUT + 1.0
        with pytest.raises(LeaseLostError, match="could not be renewed"):
            lease.check_held()
    lease.release()


def test_one_of_many_simultaneous_jobs_acquires_the_lease(tmp_path):
    start = threading.Barrier(12)
    acquired: list[Lease] = []
    refused: list[str] = []

    def acquire() -> None:
        start.wait()
        try:
            acquired.append(acquire_lease(str(tmp_path), "ingest"))
        except LeaseHeldError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=acquire) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(acquired) == 1
    assert len(refused) == 11
    acquired[0].release()


def test_a_process_goes_on_with_a_root_whose_release_could_not_be_written(tmp_path, monkeypatch):
    def fail(*_):
        raise StorageError("No space left on device")

    root = str(tmp_path)
    lease = acquire_lease(root, "first")
    with monkeypatch.context() as full_disk:
        full_disk.setattr(lease_module, "compare_and_swap", fail)
        with pytest.raises(StorageError):
            lease.release()
    assert not read(tmp_path).released
    with monkeypatch.context() as other_process:
        other_process.setattr(lease_module, "_unwritten_releases", set())
        with pytest.raises(LeaseHeldError):
            acquire_lease(root, "another")
    with hold_lease(root, "second") as second:
        assert second.token == 2
    assert read(tmp_path).released


def test_the_error_of_the_block_is_not_replaced_by_that_of_the_release(tmp_path, monkeypatch):
    def fail(*_):
        raise StorageError("of lease.json")

    monkeypatch.setattr(Lease, "release", fail)
    with pytest.raises(StorageError, match=r"of the store"), hold_lease(str(tmp_path), "first"):
        raise StorageError("of the store")
    with pytest.raises(StorageError, match=r"of lease\.json"), hold_lease(str(tmp_path / "other"), "first"):
        pass
