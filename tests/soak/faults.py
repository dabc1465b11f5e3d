"""Injection of faults into a run at random times; each fault is repaired after a few seconds."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import psutil

from tests.cluster.nodes import Machines
from tests.cluster.proxy import Proxy

MAX_DELAY = 45.0
"""Default time after the start of a job [s] before which a fault is injected; most jobs end earlier."""
OUTAGE = 3.0, 8.0
"""Shortest and longest outage of the object store [s]."""


@dataclass
class FaultInjector:
    """Injects faults into running jobs.

    Parameters
    ----------
    machines : Machines
        Cluster of the jobs.
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
        delay, ended = self.rng.uniform(0.0, self.max_delay), threading.Event()
        descriptions: list[str] = []

        def inject() -> None:
            start = time.monotonic()
            while not self.machines.drivers():  # the job is being unpacked
                if ended.wait(0.2):
                    return
            if ended.wait(max(0.0, delay - (time.monotonic() - start))):
                return
            with contextlib.suppress(psutil.NoSuchProcess, IndexError):
                FAULTS[kind](self, job)
                descriptions.append(f"{kind} after {time.monotonic() - start:.0f} s")

        thread = threading.Thread(target=inject)
        thread.start()

        def end() -> str:
            ended.set()
            thread.join()
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
        """Stop the job through Ray: SIGTERM, and SIGKILL three seconds later."""
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


FAULTS: dict[str, Callable[[FaultInjector, str], None]] = {
    "worker killed": FaultInjector.kill_worker,
    "machine lost": FaultInjector.lose_machine,
    "driver killed": FaultInjector.kill_driver,
    "driver terminated": FaultInjector.terminate_driver,
    "job stopped": FaultInjector.stop_job,
    "store suspended": FaultInjector.pause_store,
    "store responds 503": FaultInjector.refuse_requests,
}
