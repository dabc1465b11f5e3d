"""Injection of faults into a run at random times; each is repaired after some seconds, or after the job."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from unittest.mock import patch

import numpy as np
import psutil

from distspec.catalog.editions import read_current_record
from distspec.core.errors import LeaseHeldError
from distspec.io import lease
from distspec.io.lease import RENEW_INTERVAL, acquire_lease, read_holder
from tests.cluster.nodes import Machines
from tests.cluster.proxy import Proxy
from tests.soak.archive import Archive

MAX_DELAY = 45.0
"""Default time after the start of a job [s] before which a fault is injected; most jobs end earlier."""
OUTAGE = 3.0, 8.0
"""Shortest and longest outage of the object store [s]."""
CLOCK_ERROR = 3600.0
"""Error of the clock after a jump [s]."""
N_PARTS = 4
"""Number of parts of the archive, one of which is denied."""


class NotPossibleError(Exception):
    """A fault has no meaning in the present state, so that it is not injected."""


@dataclass
class FaultInjector:
    """Injects faults into running jobs.

    Parameters
    ----------
    machines : Machines
        Cluster of the jobs.
    archive : Archive
        Archive that the jobs read.
    root : str
        Root that the jobs write.
    proxy : Proxy
        Proxy of the object store.
    store : psutil.Process
        Server of the object store.
    rng : np.random.Generator
        Source of the random choices.
    max_delay : float
        Time after the start of a job [s] before which a fault is injected.
    injected : list of str
        Injected faults, with their times.
    """

    machines: Machines
    archive: Archive
    root: str
    proxy: Proxy
    store: psutil.Process
    rng: np.random.Generator
    max_delay: float = MAX_DELAY
    injected: list[str] = field(default_factory=list[str])

    def begin(self, job: str, kind: str = "") -> Callable[[], str]:
        """Schedule a fault for a job.

        Parameters
        ----------
        job : str
            Identifier of the job, which is about to be submitted.
        kind : str
            Key of `FAULTS`; empty: a random one.

        Returns
        -------
        callable
            To be called after the job has ended; returns a description of the fault, empty if there was none.
        """
        kind = kind or str(self.rng.choice(list(FAULTS)))
        delay = 0.0 if kind in FAULTS_AT_START else self.rng.uniform(0.0, self.max_delay)
        ended = threading.Event()
        descriptions: list[str] = []

        def inject() -> None:
            start = time.monotonic()
            while not self.machines.drivers():  # the job is being unpacked
                if ended.wait(0.2):
                    return
            if ended.wait(max(0.0, delay - (time.monotonic() - start))):
                return
            with contextlib.suppress(psutil.NoSuchProcess, IndexError, NotPossibleError):
                FAULTS[kind](self, job)
                descriptions.append(f"{kind} after {time.monotonic() - start:.0f} s")

        pool = ThreadPoolExecutor(1)
        injection = pool.submit(inject)

        def end() -> str:
            ended.set()
            injection.result()
            pool.shutdown()
            self.injected += descriptions
            return "".join(descriptions)

        return end

    def kill_worker(self, _: str) -> None:
        """Kill a process that runs a task or an actor."""
        workers = self.machines.workers()
        workers[self.rng.integers(len(workers)) if workers else 0].kill()

    def lose_machine(self, _: str) -> None:
        """Lose a machine that is not the head, and add another."""
        others = self.machines.others
        self.machines.lose(others[self.rng.integers(len(others))])
        self.machines.add()

    def kill_driver(self, _: str) -> None:
        """Kill the driver of the job."""
        self.machines.drivers()[0].kill()

    def terminate_driver(self, _: str) -> None:
        """Send SIGTERM to the driver of the job."""
        self.machines.drivers()[0].send_signal(signal.SIGTERM)

    def stop_job(self, job: str) -> None:
        """Stop the job through Ray: SIGTERM, and SIGKILL a minute later."""
        self.machines.ray("job", "stop", job)

    def pause_store(self, _: str) -> None:
        """Suspend the object store for a while."""
        self.store.suspend()
        time.sleep(self.rng.uniform(*OUTAGE))
        self.store.resume()

    def refuse_requests(self, _: str) -> None:
        """Have the object store respond with status 503 for a while."""
        self.proxy.refuse()
        time.sleep(self.rng.uniform(*OUTAGE))
        self.proxy.accept()

    def stop_proxy(self, _: str) -> None:
        """Have the proxy refuse connections for a while, as if its process had ended."""
        self.proxy.stop()
        time.sleep(self.rng.uniform(*OUTAGE))
        self.proxy.restart()

    def deny_folder(self, _: str) -> None:
        """Respond 403 to requests for a part of the archive, until the job has ended."""
        part, folder = self.rng.integers(N_PARTS), f"/{self.archive.server.key('archive')}/"

        def is_denied(path: str) -> bool:
            name = path.partition(folder)[2].partition("?")[0]
            return name.endswith(".fits") and zlib.crc32(name.encode()) % N_PARTS == part

        self.proxy.deny(is_denied)
        self._wait_for_end()
        self.proxy.accept()

    def cut_listing(self, _: str) -> None:
        """Serve a catalog without its second half, until the job has ended."""
        if read_current_record(self.root) is None:
            raise NotPossibleError("a first listing cannot be compared with another")
        with self.archive.short_catalog():
            self._wait_for_end()

    def jump_clock(self, _: str) -> None:
        """Set the driver's clock an hour ahead or back; another job must not take its lease then."""
        self.machines.shift_clock(self.rng.choice([-CLOCK_ERROR, CLOCK_ERROR]))
        time.sleep(RENEW_INTERVAL + 1.0)
        holder = read_holder(self.root)
        if holder is not None and not holder.released:
            with contextlib.suppress(LeaseHeldError):
                acquire_lease(self.root, "another job").release()
        self.machines.shift_clock(0.0)

    def hold_lease_elsewhere(self, _: str) -> None:
        """Hold the lease as a writer in another container that renews it for a while and then ends."""
        with patch.multiple(lease, _read_pid_namespace=lambda: "another", RENEW_INTERVAL=1.0):
            try:
                held = acquire_lease(self.root, "another container")
            except LeaseHeldError as error:
                raise NotPossibleError("the job was faster") from error
            held._holder = replace(held._holder, process_started=0.0)  # here no such process runs
            time.sleep(self.rng.uniform(*OUTAGE))
            held.check_held()
            held._released.set()  # no further renewal, and no record of its end

    def _wait_for_end(self) -> None:
        while self.machines.drivers():
            time.sleep(0.5)


FAULTS: dict[str, Callable[[FaultInjector, str], None]] = {
    "worker killed": FaultInjector.kill_worker,
    "machine lost": FaultInjector.lose_machine,
    "driver killed": FaultInjector.kill_driver,
    "driver terminated": FaultInjector.terminate_driver,
    "job stopped": FaultInjector.stop_job,
    "store suspended": FaultInjector.pause_store,
    "store responds 503": FaultInjector.refuse_requests,
    "proxy stopped": FaultInjector.stop_proxy,
    "folder denied": FaultInjector.deny_folder,
    "listing cut short": FaultInjector.cut_listing,
    "clock jump": FaultInjector.jump_clock,
    "lease held elsewhere": FaultInjector.hold_lease_elsewhere,
}
FAULTS_AT_START = frozenset({"folder denied", "listing cut short", "lease held elsewhere"})
"""Faults that begin with the job, because they concern what it does first: the lease and the ingest."""
