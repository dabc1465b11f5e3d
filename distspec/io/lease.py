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

from distspec.core.errors import HeldError
from distspec.io.files import get_versioned, swap
from distspec.io.paths import join

LIVES = 60.0
"""A lease that was not renewed for so long [s] may be taken."""
RENEWED = 15.0
"""Seconds from one renewal to the next."""


@dataclass(frozen=True)
class Holder:
    """Who holds a root, as ``lease.json`` says."""

    token: int
    what: str
    """What it does there: the stages it runs."""
    host: str
    boot: str
    """Which start of the host: process numbers mean nothing after another."""
    pid: int
    started: float
    """When the process began [s since 1970]."""
    since: float
    renewed: float
    released: bool = False

    def is_gone(self, now: float) -> bool:
        """Tell whether another may take over: released, silent for too long, or dead on this very host."""
        return self.released or now - self.renewed > LIVES or self._died_here()

    def _died_here(self) -> bool:
        if (self.host, self.boot) != (socket.gethostname(), _boot()):
            return False
        try:
            process = psutil.Process(self.pid)
            # A killed child that nobody has waited for yet is dead all the same.
            return process.status() == psutil.STATUS_ZOMBIE or abs(process.create_time() - self.started) > 2.0
        except psutil.NoSuchProcess:
            return True

    def __str__(self) -> str:
        since, renewed = (f"{datetime.fromtimestamp(t, UTC):%H:%M:%S}" for t in (self.since, self.renewed))
        return f"{self.what} on {self.host}, process {self.pid}, since {since} UTC, renewed {renewed}"


class Lease:
    """A held lease."""

    def __init__(self, url: str, holder: Holder, version: str) -> None:
        self.token = holder.token
        self._url, self._holder, self._version = url, holder, version
        self._lock, self._over = threading.Lock(), threading.Event()
        self._lost = False
        self._renewer = threading.Thread(target=self._renew, daemon=True, name="lease")
        self._renewer.start()

    def check(self) -> None:
        """Raise where the lease is no longer ours: nothing may be committed then.

        Raises
        ------
        RuntimeError
        """
        if self._lost or time.time() - self._holder.renewed > LIVES:
            raise RuntimeError(
                f"{self._url} was lost to another run, or could not be renewed: run this again"
            )

    def release(self) -> None:
        """Let the next one in."""
        self._over.set()
        self._renewer.join()
        self._write(released=True)

    def _renew(self) -> None:
        while not self._over.wait(RENEWED):
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
            version = swap(self._url, _bytes(holder), self._version)
            if version is None:
                self._lost = True
            else:
                self._holder, self._version = holder, version


def holder(root: str) -> Holder | None:
    """Return who holds a root, or held it last; None where nobody ever has."""
    seen = get_versioned(join(root, "lease.json"))
    return _holder(seen[0]) if seen else None


@contextmanager
def hold(root: str, what: str) -> Generator[Lease]:
    """Hold a root while the block runs.

    Parameters
    ----------
    root : str
    what : str
        What is done, for whoever is turned away.

    Raises
    ------
    HeldError
        When another holds it; the message says who.
    """
    lease = take(root, what)
    try:
        yield lease
    finally:
        lease.release()


def take(root: str, what: str) -> Lease:
    """Take a root's lease: see `hold`."""
    url, now = join(root, "lease.json"), time.time()
    seen = get_versioned(url)
    before = _holder(seen[0]) if seen else None
    if before is not None and not before.is_gone(now):
        raise HeldError(
            f"{root} is held by {before}: wait for it to end; if it died elsewhere, the lease ends "
            f"{before.renewed + LIVES - now:.0f} s from now"
        )
    me = psutil.Process()
    holder = Holder(
        token=before.token + 1 if before else 1,
        what=what,
        host=socket.gethostname(),
        boot=_boot(),
        pid=os.getpid(),
        started=me.create_time(),
        since=now,
        renewed=now,
    )
    version = swap(url, _bytes(holder), seen[1] if seen else None)
    if version is None:
        raise HeldError(f"{root} was taken by another run this very moment: wait for it to end")
    return Lease(url, holder, version)


def _bytes(holder: Holder) -> bytes:
    # Two holders' files must differ, even of one process: their version may be a hash of the content.
    return json.dumps({**asdict(holder), "nonce": uuid.uuid4().hex}, indent=1).encode()


def _boot() -> str:
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else f"{psutil.boot_time():.0f}"


def _holder(content: bytes) -> Holder:
    fields = json.loads(content)
    return Holder(**{name: fields[name] for name in Holder.__dataclass_fields__})
