"""One writer a root: who holds it, until when, and how another takes over from one that died.

``ROOT/lease.json`` is only ever replaced by a conditional put, so of many that try one succeeds. The holder
renews it while it lives; each holder's token is larger than the one before, and stands in every commit.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import psutil

from distspec.core.errors import LeaseHeldError
from distspec.io.files import compare_and_swap, read_versioned
from distspec.io.paths import join_url

LEASE_TIMEOUT = 60.0
"""A lease that was not renewed for so long [s] may be taken."""
RENEW_INTERVAL = 15.0
"""Seconds from one renewal to the next."""


@dataclass(frozen=True)
class LeaseHolder:
    """Who holds a root, as ``lease.json`` says."""

    token: int
    operation: str
    """What it does there: the stages it runs."""
    host: str
    boot_id: str
    """Which start of the host: process numbers mean nothing after another."""
    pid: int
    process_started: float
    """When the process began [s since 1970]."""
    acquired: float
    renewed: float
    released: bool = False

    def is_expired(self, now: float) -> bool:
        """Tell whether another may take over: released, silent for too long, or dead on this very host."""
        return self.released or now - self.renewed > LEASE_TIMEOUT or self._process_is_dead()

    def _process_is_dead(self) -> bool:
        if (self.host, self.boot_id) != (socket.gethostname(), _read_boot_id()):
            return False
        try:
            process = psutil.Process(self.pid)
            # A killed child that nobody has waited for yet is dead all the same.
            return (
                process.status() == psutil.STATUS_ZOMBIE
                or abs(process.create_time() - self.process_started) > 2.0
            )
        except psutil.NoSuchProcess:
            return True

    def __str__(self) -> str:
        since, renewed = (f"{datetime.fromtimestamp(t, UTC):%H:%M:%S}" for t in (self.acquired, self.renewed))
        return f"{self.operation} on {self.host}, process {self.pid}, since {since} UTC, renewed {renewed}"


class Lease:
    """A held lease."""

    def __init__(self, url: str, holder: LeaseHolder, version: str) -> None:
        self.token = holder.token
        self._url, self._holder, self._version = url, holder, version
        self._lock, self._over = threading.Lock(), threading.Event()
        self._lost = False
        self._renewer = threading.Thread(target=self._renew, daemon=True, name="lease")
        self._renewer.start()

    def check_held(self) -> None:
        """Raise where the lease is no longer ours: nothing may be committed then.

        Raises
        ------
        RuntimeError
        """
        if self._lost or time.time() - self._holder.renewed > LEASE_TIMEOUT:
            raise RuntimeError(
                f"{self._url} was lost to another run, or could not be renewed: run this again"
            )

    def release(self) -> None:
        """Let the next one in."""
        self._over.set()
        self._renewer.join()
        self._write(released=True)

    def _renew(self) -> None:
        while not self._over.wait(RENEW_INTERVAL):
            try:
                self._write(released=False)
            except Exception:  # a store that does not answer now may answer next time; `check` knows the time
                continue
            if self._lost:
                return

    def _write(self, released: bool) -> None:
        with self._lock:
            if self._lost:
                return
            holder = replace(self._holder, renewed=time.time(), released=released)
            version = compare_and_swap(self._url, _serialize_holder(holder), self._version)
            if version is None:
                self._lost = True
            else:
                self._holder, self._version = holder, version


def read_holder(root: str) -> LeaseHolder | None:
    """Return who holds a root, or held it last; None where nobody ever has."""
    seen = read_versioned(join_url(root, "lease.json"))
    return _parse_holder(seen[0]) if seen else None


@contextmanager
def hold_lease(root: str, operation: str) -> Generator[Lease]:
    """Hold a root while the block runs.

    Parameters
    ----------
    root : str
    operation : str
        What is done, for whoever is turned away.

    Raises
    ------
    HeldError
        When another holds it; the message says who.
    """
    lease = acquire_lease(root, operation)
    try:
        yield lease
    finally:
        lease.release()


def acquire_lease(root: str, operation: str) -> Lease:
    """Take a root's lease: see `hold`."""
    url, now = join_url(root, "lease.json"), time.time()
    seen = read_versioned(url)
    before = _parse_holder(seen[0]) if seen else None
    if before is not None and not before.is_expired(now):
        raise LeaseHeldError(
            f"{root} is held by {before}: wait for it to end; if it died elsewhere, the lease ends "
            f"{before.renewed + LEASE_TIMEOUT - now:.0f} s from now"
        )
    me = psutil.Process()
    holder = LeaseHolder(
        token=before.token + 1 if before else 1,
        operation=operation,
        host=socket.gethostname(),
        boot_id=_read_boot_id(),
        pid=os.getpid(),
        process_started=me.create_time(),
        acquired=now,
        renewed=now,
    )
    version = compare_and_swap(url, _serialize_holder(holder), seen[1] if seen else None)
    if version is None:
        raise LeaseHeldError(f"{root} was taken by another run this very moment: wait for it to end")
    return Lease(url, holder, version)


def _serialize_holder(holder: LeaseHolder) -> bytes:
    # Two holders' files must differ, even of one process: their version may be a hash of the content.
    return json.dumps({**asdict(holder), "nonce": uuid.uuid4().hex}, indent=1).encode()


def _read_boot_id() -> str:
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else f"{psutil.boot_time():.0f}"


def _parse_holder(content: bytes) -> LeaseHolder:
    fields = json.loads(content)
    return LeaseHolder(**{name: fields[name] for name in LeaseHolder.__dataclass_fields__})
