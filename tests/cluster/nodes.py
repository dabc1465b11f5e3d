"""A cluster of `ray start` machines with token authentication on the loopback address.

Every machine is `ray start --block` with its own temporary folder; the machines share only the object store.
"""

from __future__ import annotations

import contextlib
import json
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
from typing import Any
from urllib.request import Request, urlopen

import psutil

from tests.helpers.seaweed import free_ports

REPOSITORY = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
START_TIMEOUT = 90.0
"""Longest time until the head accepts jobs [s]."""
RAY_PROCESSES = ("ray::IDLE", "ray::JobSupervisor", "ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""Processes of Ray that run no task or actor of a job."""
CLOCK_FILE = "clock"
"""File in the home folder with the error of the drivers' clock [s], see tests/cluster/clock."""
OBJECT_STORE_BYTES = 80_000_000
"""Size of the object store of a machine [bytes]."""


@dataclass
class Machine:
    """A node of the cluster: `ray start` and its child processes."""

    process: subprocess.Popen[bytes]
    folder: str

    def list_processes(self) -> list[psutil.Process]:
        """Return its processes, beginning with `ray start`."""
        with contextlib.suppress(psutil.NoSuchProcess):
            first = psutil.Process(self.process.pid)
            return [first, *first.children(recursive=True)]
        return []

    def lose(self) -> None:
        """Kill all processes, as if the power were cut."""
        processes = self.list_processes()
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGSTOP)  # no process can react to the end of another
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()


@dataclass
class Machines:
    """The head and the other machines of a cluster."""

    environment: Mapping[str, str]
    address: str
    dashboard: str
    stack: ExitStack
    head: Machine
    has_code: bool = False
    """Whether the machines can import distspec; otherwise jobs upload the code."""
    others: list[Machine] = field(default_factory=list[Machine])

    def add(self, cpus: int = 1) -> Machine:
        """Add a machine."""
        machine = start(self.stack, self.environment, cpus, [f"--address={self.address}"])
        self.others.append(machine)
        return machine

    def lose(self, machine: Machine) -> None:
        """Kill a machine."""
        self.others.remove(machine)
        machine.lose()

    def replace_failed(self) -> int:
        """Replace machines that have failed, as an autoscaler does, and return their number."""
        failed = [machine for machine in self.others if machine.process.poll() is not None]
        for machine in failed:
            self.lose(machine)
            self.add()
        return len(failed)

    def workers(self) -> list[psutil.Process]:
        """Return the processes that run tasks or actors of jobs."""
        found: list[psutil.Process] = []
        for machine in (self.head, *self.others):
            for process in machine.list_processes():
                with contextlib.suppress(psutil.NoSuchProcess):
                    name = " ".join(process.cmdline())
                    if name.startswith("ray::") and not name.startswith(RAY_PROCESSES):
                        found.append(process)
        return found

    def drivers(self) -> list[psutil.Process]:
        """Return the drivers of submitted jobs."""
        found: list[psutil.Process] = []
        for process in self.head.list_processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                words = process.cmdline()
                if words[1:2] == ["-m"] and words[2].startswith("jobs."):
                    found.append(process)
        return found

    def ray(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the command ``ray`` with the token of the cluster."""
        return subprocess.run(
            [str(BIN / "ray"), *words],
            cwd=REPOSITORY,
            env={**self.environment, "RAY_ADDRESS": self.dashboard, **variables},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def submit(self, job: str, *words: str, wait: bool = True) -> subprocess.CompletedProcess[str]:
        """Submit a job by ``ray job submit``, with the code unless the machines have it."""
        how = [] if wait else ["--no-wait"]
        code = [] if self.has_code else ["--working-dir", "."]
        return self.ray("job", "submit", "--submission-id", job, *how, *code, "--", *words)

    def call_job_server(self, path: str = "", content: Mapping[str, str] | None = None) -> Any:
        """Send a request to Ray's job server, without the seconds that the command ``ray`` takes to start."""
        token = Path(self.environment["RAY_AUTH_TOKEN_PATH"]).read_text()
        request = Request(
            f"{self.dashboard}/api/jobs/{path}",
            None if content is None else json.dumps(content).encode(),
            {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        with urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def status(self, job: str) -> str:
        """Return the status of a job, such as "SUCCEEDED"; empty: the server does not know it, or is away."""
        try:
            return self.call_job_server(job)["status"]
        except OSError:
            return ""

    def shift_clock(self, seconds: float) -> None:
        """Set the clock of all drivers ahead, or back if negative; 0: to the right time."""
        Path(self.environment["HOME"], CLOCK_FILE).write_text(str(seconds))

    def logs(self) -> list[Path]:
        """Return the files that the machines have written, including logs."""
        return [
            path
            for machine in (self.head, *self.others)
            for path in Path(machine.folder).rglob("*")
            if path.is_file() and "runtime_resources" not in path.parts
        ]

    def read_secrets(self) -> list[bytes]:
        """Return the token, and the secret key of the object store."""
        token = Path(self.environment["RAY_AUTH_TOKEN_PATH"]).read_text()
        return [token.encode(), self.environment["AWS_SECRET_ACCESS_KEY"].encode()]


def make_environment(folder: str, **variables: str) -> dict[str, str]:
    """Return the environment variables of machines and clients, after writing a new token."""
    token = Path(folder) / "token" / "auth_token"
    token.parent.mkdir(mode=0o700)
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    removed = ("RAY_", "PYTHONPATH")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(removed)}
    return {
        **inherited,
        "HOME": folder,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_JOB_STOP_WAIT_TIME_S": "60",  # as in infra/Dockerfile
        **variables,
    }


@contextmanager
def machines(
    cpus: tuple[int, ...] = (1, 1, 1), has_code: bool = False, **environment: str
) -> Generator[Machines]:
    """Yield a cluster of machines with the given numbers of CPUs; the first is the head."""
    with ExitStack() as stack:
        folder = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="ds-", dir="/tmp", ignore_cleanup_errors=True)
        )
        code = {"PYTHONPATH": f"{Path(__file__).parent / 'clock'}:{REPOSITORY}"} if has_code else {}
        env = make_environment(folder, **environment, **code)
        gcs, dashboard = free_ports(2)
        # Several Rays may run on this host.
        env["RAY_API_SERVER_ADDRESS"] = f"http://127.0.0.1:{dashboard}"
        words = ["--head", f"--port={gcs}", f"--dashboard-port={dashboard}", "--dashboard-host=127.0.0.1"]
        head = start(stack, env, cpus[0], words)
        cluster = Machines(env, f"127.0.0.1:{gcs}", f"http://127.0.0.1:{dashboard}", stack, head, has_code)
        _wait_until_ready(cluster)
        for n in cpus[1:]:
            cluster.add(n)
        yield cluster


def start(stack: ExitStack, environment: Mapping[str, str], cpus: int, words: list[str]) -> Machine:
    folder = stack.enter_context(
        tempfile.TemporaryDirectory(prefix="ds-", dir="/tmp", ignore_cleanup_errors=True)
    )
    command = [str(BIN / "ray"), "start", "--block", "--node-ip-address=127.0.0.1", *words]
    # Several machines share this host, so ports must not be fixed.
    command += [f"--num-cpus={cpus}", f"--object-store-memory={OBJECT_STORE_BYTES}", f"--temp-dir={folder}"]
    command += ["--dashboard-agent-listen-port=0"]
    with Path(folder, "ray-start.log").open("wb") as log:
        process = subprocess.Popen(command, env=dict(environment), stdout=log, stderr=log, cwd=folder)
    machine = Machine(process, folder)
    stack.callback(machine.lose)
    return machine


def _wait_until_ready(cluster: Machines) -> None:
    """Wait until the cluster accepts jobs."""
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            cluster.call_job_server(content={"entrypoint": "true"})
        except OSError as error:
            if cluster.head.process.poll() is not None or time.monotonic() > deadline:
                log = Path(cluster.head.folder, "ray-start.log").read_text()
                raise RuntimeError(f"the head did not start: {error} {log[-2000:]}") from error
            time.sleep(0.5)
        else:
            return
