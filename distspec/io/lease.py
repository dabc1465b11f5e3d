"""The lease of a root, which admits one writer at a time.

``ROOT/lease.json`` is replaced by conditional writes only, so of several jobs that try to acquire it one
succeeds. The holder renews the lease while it runs. Each holder has a larger token than the one before; the
token is recorded in every commit.

Clocks of two machines may differ, so a lease that looks old is watched for `LEASE_TIMEOUT` before another job
takes it: only a lease that is not renewed in that time is free. A process number says nothing in another
container, so it counts only within one start and one process namespace of one host.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import psutil

from distspec.core.errors import LeaseHeldError, LeaseLostError, StorageError
from distspec.core.records import JsonRecord
from distspec.io.files import compare_and_swap, read_versioned
from distspec.io.paths import join_url

logger = logging.getLogger(__name__)

LEASE_TIMEOUT = 60.0
"""Time without renewal after which another job may take the lease [s]."""
RENEW_INTERVAL = 15.0
"""Time between renewals [s]."""
WATCH_INTERVAL = 1.0
"""Time between looks at a lease that may have been abandoned [s]."""
PROCESS_START_TOLERANCE = 2.0
"""Start times of one process, as the operating system reports them, differ by less than this [s]."""


@dataclass(frozen=True)
class LeaseHolder(JsonRecord):
    """The job that holds a root, or held it last: the content of ``lease.json``."""

    record_name = "lease.json"

    token: int
    """Number of the lease; it increases from holder to holder."""
    operation: str
    """Stage that the job runs, "pipeline" for all stages, or the command."""
    host: str
    """Name of the host."""
    boot_id: str
    """Identifier of the host's start: process numbers are unique within one start only."""
    pid: int
    """Process number on the host."""
    process_started: float
    """When the process started [s since 1970]."""
    acquired: float
    """When the lease was acquired [s since 1970]."""
    renewed: float
    """When the lease was last renewed [s since 1970]."""
    released: bool = False
    """Whether the holder has released the lease."""
    pid_namespace: str = ""
    """Namespace of the process number: containers of one host have different ones; "" if unknown."""

    def is_expired(self, now: float) -> bool:
        """Return whether the lease was released or seems to be abandoned.

        It seems so if it was not renewed for `LEASE_TIMEOUT` by this machine's clock, or if the holder was a
        process of this host and container that has ended.

        Parameters
        ----------
        now : float
            Current time [s since 1970].
        """
        return self.released or now - self.renewed > LEASE_TIMEOUT or self.process_is_dead()

    def process_is_dead(self) -> bool:
        """Return whether the holder was a process of this host and container, and has ended."""
        here = (socket.gethostname(), _read_boot_id(), _read_pid_namespace())
        if (self.host, self.boot_id, self.pid_namespace) != here or not self.pid_namespace:
            return False
        try:
            process = psutil.Process(self.pid)
            age = abs(process.create_time() - self.process_started)
            # A killed child process stays a zombie until its parent has waited for it.
            return process.status() == psutil.STATUS_ZOMBIE or age > PROCESS_START_TOLERANCE
        except psutil.NoSuchProcess:
            return True

    def __str__(self) -> str:
        acquired, renewed = (
            f"{datetime.fromtimestamp(seconds, UTC):%H:%M:%S}" for seconds in (self.acquired, self.renewed)
        )
        return f"{self.operation} on {self.host}, process {self.pid}, since {acquired} UTC, renewed {renewed}"


_unwritten_releases: set[tuple[str, LeaseHolder]] = set()
"""Leases of this process that have ended without a record of it, as on a full disk, with their URLs."""


class Lease:
    """A lease that this process holds; a thread renews it until it is released.

    Parameters
    ----------
    url : str
        URL of ``lease.json``.
    holder : LeaseHolder
        Its content, which names this process.
    version : str
        Version of the file, see `distspec.io.files.compare_and_swap`.
    """

    def __init__(self, url: str, holder: LeaseHolder, version: str) -> None:
        self.token = holder.token
        self._url, self._holder, self._version = url, holder, version
        self._write_lock, self._released = threading.Lock(), threading.Event()
        self._lost = False
        self._last_renewal = _elapsed_time()
        self._renewer = threading.Thread(target=self._renew, daemon=True, name="lease")
        self._renewer.start()

    def check_held(self) -> None:
        """Raise an error if this process no longer holds the lease; call it before every commit.

        Raises
        ------
        LeaseLostError
            If another job has taken the lease, or if it could not be renewed for `LEASE_TIMEOUT`.
        """
        if self._lost or _elapsed_time() - self._last_renewal > LEASE_TIMEOUT:
            raise LeaseLostError(
                f"{self._url} was lost to another job, or could not be renewed: run this command again"
            )

    def release(self) -> None:
        """Release the lease, so that another job can acquire it at once."""
        self._released.set()
        self._renewer.join()
        try:
            self._write(released=True)
        except Exception:
            _unwritten_releases.add((self._url, replace(self._holder, renewed=0.0)))
            raise

    def _renew(self) -> None:
        while not self._released.wait(RENEW_INTERVAL):
            try:
                self._write(released=False)
            except Exception:  # the object store may answer next time; `check_held` compares the time
                continue
            if self._lost:
                return

    def _write(self, released: bool) -> None:
        with self._write_lock:
            if self._lost:
                return
            started = _elapsed_time()
            holder = replace(self._holder, renewed=time.time(), released=released)
            version = compare_and_swap(self._url, _serialize_holder(holder), self._version)
            if version is None:
                self._lost = True
            else:
                self._holder, self._version, self._last_renewal = holder, version, started


def read_holder(root: str) -> LeaseHolder | None:
    """Return the job that holds a root, or held it last; None if no job ever has.

    Parameters
    ----------
    root : str
        URL of the root.
    """
    file = read_versioned(_lease_url(root))
    return _parse_holder(file[0]) if file else None


@contextmanager
def hold_lease(root: str, operation: str) -> Generator[Lease]:
    """Hold the lease of a root within the block.

    Parameters
    ----------
    root : str
        URL of the root.
    operation : str
        Stage, "pipeline" or command, which the error of other jobs names.

    Raises
    ------
    LeaseHeldError
        If another job holds the lease.
    """
    lease = acquire_lease(root, operation)
    try:
        yield lease
    except BaseException:
        with suppress(StorageError):  # the error of the block tells more
            lease.release()
        raise
    lease.release()


def acquire_lease(root: str, operation: str) -> Lease:
    """Acquire the lease of a root until it is released; see `hold_lease`.

    Parameters
    ----------
    root : str
        URL of the root.
    operation : str
        Stage, "pipeline" or command, which the error of other jobs names.

    Raises
    ------
    LeaseHeldError
        If another job holds the lease.
    """
    url = _lease_url(root)
    file = read_versioned(url)
    previous = _parse_holder(file[0]) if file else None
    if previous is not None and not _has_ended(url, previous):
        age = time.time() - previous.renewed
        if abs(age) <= LEASE_TIMEOUT:
            raise LeaseHeldError(
                f"{root} is held by {previous}: wait for it to end; if it was killed on another host, the "
                f"lease expires in {LEASE_TIMEOUT - age:.0f} s"
            )
        file = _watch_lease(root, previous, file)
    now = time.time()
    holder = LeaseHolder(
        token=previous.token + 1 if previous else 1,
        operation=operation,
        host=socket.gethostname(),
        boot_id=_read_boot_id(),
        pid=os.getpid(),
        process_started=psutil.Process().create_time(),
        acquired=now,
        renewed=now,
        pid_namespace=_read_pid_namespace(),
    )
    version = compare_and_swap(url, _serialize_holder(holder), file[1] if file else None)
    if version is None:
        raise LeaseHeldError(f"{root} was acquired by another job at the same time: wait for it to end")
    return Lease(url, holder, version)


def _has_ended(url: str, holder: LeaseHolder) -> bool:
    return (
        holder.released
        or holder.process_is_dead()
        or (url, replace(holder, renewed=0.0)) in _unwritten_releases
    )


def _watch_lease(root: str, holder: LeaseHolder, file: tuple[bytes, str] | None) -> tuple[bytes, str] | None:
    """Return the lease if nobody renews it for `LEASE_TIMEOUT`; its own times may be of another clock."""
    logger.warning(
        "%s was held by %s and seems abandoned: waiting %.0f s for a renewal", root, holder, LEASE_TIMEOUT
    )
    start = _elapsed_time()
    while _elapsed_time() - start <= LEASE_TIMEOUT:
        time.sleep(WATCH_INTERVAL)
        current = read_versioned(_lease_url(root))
        if current is None or _parse_holder(current[0]).released:
            return current
        if file is None or current[1] != file[1]:
            raise LeaseHeldError(
                f"{root} is held by {_parse_holder(current[0])}: wait for it to end; the clocks of that host "
                "and of this one differ"
            )
    return file


def force_release(root: str) -> LeaseHolder | None:
    """Release the lease of a root whatever its holder does, and return the holder.

    The holder, if it still runs, fails at its next commit; what it had committed stays.

    Parameters
    ----------
    root : str
        URL of the root.

    Returns
    -------
    LeaseHolder or None
        The former holder; None if nobody holds the lease.

    Raises
    ------
    LeaseHeldError
        If the lease was renewed at the same moment.
    """
    url = _lease_url(root)
    file = read_versioned(url)
    holder = _parse_holder(file[0]) if file else None
    if file is None or holder is None or holder.released:
        return None
    if compare_and_swap(url, _serialize_holder(replace(holder, released=True)), file[1]) is None:
        raise LeaseHeldError(f"{root} was renewed at the same moment: run this command again")
    return holder


def _lease_url(root: str) -> str:
    return join_url(root, "lease.json")


def _serialize_holder(holder: LeaseHolder) -> bytes:
    # Two writes of one process must differ, because the version of a local file is a hash of its content.
    return json.dumps({**holder.to_json(), "nonce": uuid.uuid4().hex}, indent=1).encode()


def _parse_holder(content: bytes) -> LeaseHolder:
    return LeaseHolder.from_json(json.loads(content))


def _read_boot_id() -> str:
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else f"{psutil.boot_time():.0f}"


def _read_pid_namespace() -> str:
    """Return the namespace of process numbers; "host" on systems without namespaces, "" if unknown."""
    if not Path("/proc/self").exists():
        return "host"
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _elapsed_time() -> float:
    """Return the time since the machine started [s], which no setting of the clock changes."""
    # CLOCK_BOOTTIME, unlike the monotonic clock, also counts while a machine is suspended.
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
