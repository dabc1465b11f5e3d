"""What befalls a run: one thing at a random moment, made good again at once."""

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

LATEST = 45.0
"""Seconds after a job has begun; most are over by then."""
AWAY = 3.0, 8.0
"""The store is away so long [s]."""


@dataclass
class Saboteur:
    """Does something to a run that goes on.

    Parameters
    ----------
    machines : Machines
    proxy : Proxy
        Before the store.
    store : psutil.Process
        The store's server.
    rng : np.random.Generator
    latest : float
        It comes so long [s] after a job has begun at the latest.
    """

    machines: Machines
    proxy: Proxy
    store: psutil.Process
    rng: np.random.Generator
    latest: float = LATEST
    done: list[str] = field(default_factory=list[str])
    """What was done, in words."""

    def begin(self, job: str, kind: str = "") -> Callable[[], str]:
        """Plan something against a job; return what waits for it to be over, and says what it was."""
        kind = kind or str(self.rng.choice(list(KINDS)))
        delay, over = self.rng.uniform(0.0, self.latest), threading.Event()
        said: list[str] = []

        def act() -> None:
            start = time.monotonic()
            while not self.machines.drivers():  # it is being unpacked
                if over.wait(0.2):
                    return
            if over.wait(max(0.0, delay - (time.monotonic() - start))):
                return
            with contextlib.suppress(psutil.NoSuchProcess, IndexError):
                KINDS[kind](self, job)
                said.append(f"{kind} after {time.monotonic() - start:.0f} s")

        thread = threading.Thread(target=act)
        thread.start()

        def end() -> str:
            over.set()
            thread.join()
            self.done += said
            return "".join(said)

        return end

    def kill_worker(self, _: str) -> None:
        """Kill a process at a task or an actor."""
        workers = self.machines.workers()
        workers[self.rng.integers(len(workers)) if workers else 0].kill()

    def lose_machine(self, _: str) -> None:
        """Lose a machine that is not the head; another comes."""
        others = self.machines.others
        self.machines.lose(others[self.rng.integers(len(others))])
        self.machines.add()

    def kill_driver(self, _: str) -> None:
        """Kill the process of the job itself."""
        self.machines.drivers()[0].kill()

    def end_driver(self, _: str) -> None:
        """Tell it to end."""
        self.machines.drivers()[0].send_signal(signal.SIGTERM)

    def stop_job(self, job: str) -> None:
        """Stop it as Ray does: SIGTERM, and SIGKILL three seconds later."""
        self.machines.ray("job", "stop", job)

    def pause_store(self, _: str) -> None:
        """Let the store be silent for a while."""
        self.store.suspend()
        time.sleep(self.rng.uniform(*AWAY))
        self.store.resume()

    def refuse(self, _: str) -> None:
        """Let the store answer 503 for a while."""
        self.proxy.refuse()
        time.sleep(self.rng.uniform(*AWAY))
        self.proxy.relent()


KINDS: dict[str, Callable[[Saboteur, str], None]] = {
    "worker killed": Saboteur.kill_worker,
    "machine lost": Saboteur.lose_machine,
    "driver killed": Saboteur.kill_driver,
    "driver told to end": Saboteur.end_driver,
    "job stopped": Saboteur.stop_job,
    "store silent": Saboteur.pause_store,
    "store answers 503": Saboteur.refuse,
}
