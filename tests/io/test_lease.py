"""One writer a root: who gets in, who is turned away, and who takes over from the dead."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from distspec.io import lease as leases
from distspec.io.lease import LEASE_TIMEOUT, Lease, LeaseHolder, acquire_lease, hold_lease

T0 = 1.8e9


class Clock:
    """The time that leases go by."""

    def __init__(self) -> None:
        self.now = T0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(leases, "time", clock)
    return clock


def written(root: Path) -> LeaseHolder:
    fields = json.loads((root / "lease.json").read_text())
    return LeaseHolder(**{name: fields[name] for name in LeaseHolder.__dataclass_fields__})


def leave(root: Path, holder: LeaseHolder) -> None:
    """Put another's lease there."""
    (root / "lease.json").write_text(json.dumps({**asdict(holder), "nonce": "x"}))


def other(**known: object) -> LeaseHolder:
    """A run on another machine, which was alive a moment ago."""
    seen = {"host": "elsewhere", "boot_id": "b", "pid": 1, "process_started": T0 - 90.0, "acquired": T0 - 80.0}
    return LeaseHolder(**{"token": 41, "operation": "ingest", "renewed": T0 - 1.0, **seen, **known})


def test_it_is_held_while_the_block_runs(tmp_path):
    with hold_lease(str(tmp_path), "ingest") as lease:
        lease.check_held()
        holder = written(tmp_path)
        assert (holder.operation, holder.pid, holder.released) == ("ingest", os.getpid(), False)
        with pytest.raises(RuntimeError, match=rf"is held by ingest on .*, process {os.getpid()}, since"):
            acquire_lease(str(tmp_path), "gc")
    assert written(tmp_path).released
    with hold_lease(str(tmp_path), "gc"):
        assert written(tmp_path).operation == "gc"


def test_it_is_released_when_the_block_fails(tmp_path):
    with pytest.raises(KeyError), hold_lease(str(tmp_path), "ingest"):
        raise KeyError
    assert written(tmp_path).released


def test_tokens_grow(tmp_path):
    tokens = []
    for _ in range(3):
        with hold_lease(str(tmp_path), "ingest") as lease:
            tokens.append(lease.token)
    assert tokens == [1, 2, 3]


def test_a_living_holder_elsewhere_is_left_alone(tmp_path, clock):
    leave(tmp_path, other())
    with pytest.raises(RuntimeError, match=r"ingest on elsewhere, process 1, .* ends 59 s from now"):
        acquire_lease(str(tmp_path), "ingest")


def test_a_silent_one_elsewhere_is_followed(tmp_path, clock):
    leave(tmp_path, other())
    clock.now += LEASE_TIMEOUT - 2.0
    with pytest.raises(RuntimeError, match="is held by"):
        acquire_lease(str(tmp_path), "ingest")
    clock.now += 2.0
    with hold_lease(str(tmp_path), "ingest") as lease:
        assert lease.token == 42


def test_a_process_killed_here_is_followed_at_once(tmp_path):
    code = (
        "import sys; from distspec.io.lease import acquire_lease; acquire_lease(sys.argv[1], 'ingest'); print('held'); input()"
    )
    command = [sys.executable, "-u", "-c", code, str(tmp_path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(RuntimeError, match=f"process {process.pid}"):
        acquire_lease(str(tmp_path), "ingest")
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, but left a zombie
    with hold_lease(str(tmp_path), "ingest") as lease:
        assert lease.token == 2
    process.communicate()


def test_a_number_given_to_another_process_is_no_holder(tmp_path):
    with hold_lease(str(tmp_path), "ingest"):
        mine = written(tmp_path)
    leave(tmp_path, replace(mine, released=False, process_started=mine.process_started - 100.0))
    with hold_lease(str(tmp_path), "ingest") as lease:
        assert lease.token == 2


def test_a_number_of_before_a_restart_of_the_host_says_nothing(tmp_path):
    """The process may run in another container of the same name: only time tells."""
    with hold_lease(str(tmp_path), "ingest"):
        mine = written(tmp_path)
    leave(tmp_path, replace(mine, released=False, boot_id="another", pid=2**22))
    with pytest.raises(RuntimeError, match="is held by"):
        acquire_lease(str(tmp_path), "ingest")


def test_it_is_renewed(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "RENEW_INTERVAL", 0.02)
    seen = threading.Event()
    original = Lease._write

    def write(self: Lease, released: bool) -> None:
        original(self, released)
        seen.set()

    monkeypatch.setattr(Lease, "_write", write)
    with hold_lease(str(tmp_path), "ingest") as lease:
        first = written(tmp_path).renewed
        assert seen.wait(10.0)
        assert written(tmp_path).renewed > first
        lease.check_held()


def test_a_lease_that_was_taken_over_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "RENEW_INTERVAL", 0.02)
    lease = acquire_lease(str(tmp_path), "ingest")
    leave(tmp_path, other())
    lease._renewer.join(10.0)
    with pytest.raises(RuntimeError, match="was lost to another run"):
        lease.check_held()
    lease.release()
    assert written(tmp_path) == other(), "the next one's lease is not released by the one before"


def test_a_lease_that_could_not_be_renewed_is_noticed(tmp_path, clock, monkeypatch):
    """A process that was stopped for a while, or whose store did not answer, may commit nothing."""
    monkeypatch.setattr(leases, "RENEW_INTERVAL", 0.02)
    lease = acquire_lease(str(tmp_path), "ingest")
    tried = threading.Event()

    def refuse(*_: object) -> None:
        tried.set()
        raise OSError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(leases, "compare_and_swap", refuse)
        assert tried.wait(10.0)
        lease.check_held()
        clock.now += LEASE_TIMEOUT + 1.0
        with pytest.raises(RuntimeError, match="could not be renewed"):
            lease.check_held()
    lease.release()


def test_of_many_at_once_one_gets_in(tmp_path):
    start = threading.Barrier(12)
    held: list[Lease] = []
    turned_away: list[str] = []

    def try_it() -> None:
        start.wait()
        try:
            held.append(acquire_lease(str(tmp_path), "ingest"))
        except RuntimeError as error:
            turned_away.append(str(error))

    threads = [threading.Thread(target=try_it) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(held) == 1
    assert len(turned_away) == 11
    held[0].release()
