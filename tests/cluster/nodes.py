"""A cluster as users have it, on loopback: `ray start` machines with token authentication, that can be lost.

Each machine is `ray start --block` with a temporary folder of its own; nothing is shared but what S3 holds.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.helpers.seaweed import free_ports

REPOSITORY = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
START = 90.0
"""A machine has so long [s] to join."""
RAYS_OWN = ("ray::IDLE", "ray::JobSupervisor", "ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""Processes that are not at any work, or whose end is that of their machine."""
STORE = 80_000_000
"""Of objects, a machine [bytes]."""


@dataclass
class Machine:
    """A node of the cluster: everything that `ray start` started."""

    process: subprocess.Popen[bytes]
    folder: str

    def family(self) -> list[psutil.Process]:
        """Return its processes, the first first."""
        with contextlib.suppress(psutil.NoSuchProcess):
            first = psutil.Process(self.process.pid)
            return [first, *first.children(recursive=True)]
        return []

    def lose(self) -> None:
        """Let it go as a machine goes whose power is cut."""
        family = self.family()
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGSTOP)  # nobody of it sees another go
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()


@dataclass
class Machines:
    """The head, and machines that come and go."""

    environment: Mapping[str, str]
    address: str
    dashboard: str
    stack: ExitStack
    head: Machine
    has_code: bool = False
    """As an image has it; else each job brings its own."""
    others: list[Machine] = field(default_factory=list[Machine])

    def add(self, cpus: int = 1) -> Machine:
        """Let a machine join."""
        machine = start(self.stack, self.environment, cpus, [f"--address={self.address}"])
        self.others.append(machine)
        return machine

    def lose(self, machine: Machine) -> None:
        """Lose a machine."""
        self.others.remove(machine)
        machine.lose()

    def heal(self) -> int:
        """Replace machines that have gone by themselves, as an autoscaler does; return how many."""
        gone = [machine for machine in self.others if machine.process.poll() is not None]
        for machine in gone:
            self.lose(machine)
            self.add()
        return len(gone)

    def workers(self) -> list[psutil.Process]:
        """Return the processes that are at tasks or actors of jobs now."""
        found: list[psutil.Process] = []
        for machine in (self.head, *self.others):
            for process in machine.family():
                with contextlib.suppress(psutil.NoSuchProcess):
                    name = " ".join(process.cmdline())
                    if name.startswith("ray::") and not name.startswith(RAYS_OWN):
                        found.append(process)
        return found

    def drivers(self) -> list[psutil.Process]:
        """Return the processes of jobs that were submitted."""
        found: list[psutil.Process] = []
        for process in self.head.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                words = process.cmdline()
                if words[1:2] == ["-m"] and words[2].startswith("jobs."):
                    found.append(process)
        return found

    def ray(self, *words: str, **kept: str) -> subprocess.CompletedProcess[str]:
        """Run Ray's command as somebody who has the token."""
        return subprocess.run(
            [str(BIN / "ray"), *words],
            cwd=REPOSITORY,
            env={**self.environment, "RAY_ADDRESS": self.dashboard, **kept},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def submit(self, job: str, *words: str, wait: bool = True) -> subprocess.CompletedProcess[str]:
        """Submit a job by ``ray job submit``, under an id of its own; it takes the code along if it must."""
        how = [] if wait else ["--no-wait"]
        code = [] if self.has_code else ["--working-dir", "."]
        return self.ray("job", "submit", "--submission-id", job, *how, *code, "--", *words)

    def status(self, job: str) -> str:
        """Return what Ray says of a job."""
        return self.ray("job", "status", job).stdout

    def logs(self) -> list[Path]:
        """Return the files that the machines have written, their logs among them."""
        return [
            path
            for machine in (self.head, *self.others)
            for path in Path(machine.folder).rglob("*")
            if path.is_file() and "runtime_resources" not in path.parts
        ]

    def confidential(self) -> list[bytes]:
        """Return what nobody may read anywhere: the token, and the key of the object store."""
        token = Path(self.environment["RAY_AUTH_TOKEN_PATH"]).read_text()
        return [token.encode(), self.environment["AWS_SECRET_ACCESS_KEY"].encode()]


def environment_of(folder: str, **more: str) -> dict[str, str]:
    """Return the environment of machines and of who submits, with a token that only they have."""
    token = Path(folder) / "token" / "auth_token"
    token.parent.mkdir(mode=0o700)
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    ours = ("RAY_", "PYTHONPATH")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {
        **kept,
        "HOME": folder,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        **more,
    }


@contextmanager
def machines(
    cpus: tuple[int, ...] = (1, 1, 1), has_code: bool = False, **environment: str
) -> Generator[Machines]:
    """Yield a cluster of as many machines as there are numbers of CPUs; the first is the head."""
    with ExitStack() as stack:
        folder = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="ds-", dir="/tmp", ignore_cleanup_errors=True)
        )
        code = {"PYTHONPATH": str(REPOSITORY)} if has_code else {}
        env = environment_of(folder, **environment, **code)
        gcs, dashboard = free_ports(2)
        env["RAY_API_SERVER_ADDRESS"] = (
            f"http://127.0.0.1:{dashboard}"  # of several Rays on this machine, this
        )
        words = ["--head", f"--port={gcs}", f"--dashboard-port={dashboard}", "--dashboard-host=127.0.0.1"]
        head = start(stack, env, cpus[0], words)
        found = Machines(env, f"127.0.0.1:{gcs}", f"http://127.0.0.1:{dashboard}", stack, head, has_code)
        _wait(found)
        for each in cpus[1:]:
            found.add(each)
        yield found


def start(stack: ExitStack, environment: Mapping[str, str], cpus: int, words: list[str]) -> Machine:
    folder = stack.enter_context(
        tempfile.TemporaryDirectory(prefix="ds-", dir="/tmp", ignore_cleanup_errors=True)
    )
    command = [str(BIN / "ray"), "start", "--block", "--node-ip-address=127.0.0.1", *words]
    # Several machines on this one: what listens must find a port of its own.
    command += [f"--num-cpus={cpus}", f"--object-store-memory={STORE}", f"--temp-dir={folder}"]
    command += ["--dashboard-agent-listen-port=0"]
    with Path(folder, "ray-start.log").open("wb") as log:
        process = subprocess.Popen(command, env=dict(environment), stdout=log, stderr=log, cwd=folder)
    machine = Machine(process, folder)
    stack.callback(machine.lose)
    return machine


def _wait(found: Machines) -> None:
    """Wait until it takes jobs."""
    until = time.monotonic() + START
    while (tried := found.ray("job", "submit", "--no-wait", "--", "true")).returncode:
        if found.head.process.poll() is not None or time.monotonic() > until:
            log = Path(found.head.folder, "ray-start.log").read_text()
            raise RuntimeError(f"no head: {tried.stderr[-1000:]} {log[-2000:]}")
        time.sleep(0.5)
