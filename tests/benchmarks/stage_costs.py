"""Cost of every stage of a run: duration, CPU time of driver and workers, memory, and size of its folders.

    python -m tests.benchmarks.stage_costs N CPUS ROOT [FLAG …]

runs recipe `demo` on N simulated spectra on Ray with so many CPUs, stage by stage, and prints JSON. On a
machine that is used by others, compare CPU times, which hardly depend on the load.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from distspec.core.records import JsonRecord
from tests.benchmarks.machine import ENVIRONMENT

INTERVAL_SECONDS = 0.1
MB = 1e6
FOLDERS = ("archive", "store", "models", "redshifts", "runs", "catalog")
SERVICES = (
    "raylet",
    "gcs_server",
    "ray/_private",
    "ray/dashboard",
    "ray::DashboardAgent",
    "ray::RuntimeEnvAgent",
)
"""Parts of the command lines of Ray's own processes, which are not counted."""


@dataclass(frozen=True)
class StageCost(JsonRecord):
    """Cost of a stage.

    Attributes
    ----------
    seconds : float
        Duration [s].
    driver_seconds, worker_seconds : float
        CPU time of the driver and of all workers [s].
    peak_mb : mapping of str to float
        Largest private memory by name of the process [MB].
    cpu_seconds : mapping of str to float
        CPU time by name of the process [s].
    summary : mapping
        Result of the stage.
    """

    seconds: float
    driver_seconds: float
    worker_seconds: float
    peak_mb: Mapping[str, float]
    cpu_seconds: Mapping[str, float]
    summary: Mapping[str, int | float | str]


@dataclass(frozen=True)
class RunCost(JsonRecord):
    """Cost of a run.

    Attributes
    ----------
    n_spectra, n_cpus : int
        Number of simulated spectra, and of Ray's CPUs.
    load : float
        Load of the machine during the last minute of the run.
    stages : mapping of str to StageCost
        Cost by stage.
    folder_bytes : mapping of str to int
        Size of each folder below the root [bytes].
    """

    n_spectra: int
    n_cpus: int
    load: float
    stages: Mapping[str, StageCost]
    folder_bytes: Mapping[str, int]


class ProcessMonitor(threading.Thread):
    """Measures CPU time and memory of this process and of all processes that it started."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.stopped = threading.Event()
        self.seconds_by_pid: dict[int, float] = {}
        self.peak_mb: dict[str, float] = defaultdict(float)
        self.cpu_seconds: dict[str, float] = defaultdict(float)

    @property
    def worker_seconds(self) -> float:
        """CPU time of all workers so far [s]."""
        return sum(self.seconds_by_pid.values())

    def run(self) -> None:
        while not self.stopped.wait(INTERVAL_SECONDS):
            self.sample()

    def sample(self) -> None:
        """Update the measurements."""
        this_process = psutil.Process()
        self._update_peak("driver", this_process)
        for process in this_process.children(recursive=True):
            try:
                title = " ".join(process.cmdline())
                if any(service in title for service in SERVICES):
                    continue
                seconds = sum(process.cpu_times()[:2])
                name = title.removeprefix("ray::").split()[0].split("(")[0] if title else "ended"
                self.cpu_seconds[name] += seconds - self.seconds_by_pid.get(process.pid, 0.0)
                self.seconds_by_pid[process.pid] = seconds
                if title.startswith("ray::") and "IDLE" not in title:
                    self._update_peak(name, process)
            except psutil.NoSuchProcess:
                continue

    def _update_peak(self, name: str, process: psutil.Process) -> None:
        memory = process.memory_info()
        self.peak_mb[name] = max(self.peak_mb[name], (memory.rss - memory.shared) / MB)


def measure_run(n: int, n_cpus: int, root: str, flags: Sequence[str] = ()) -> RunCost:
    """Run the pipeline in this process; flags may begin with ``--stages`` and names separated by commas."""
    from distspec.pipeline.recipes import parse
    from distspec.pipeline.runner import STAGES, run_stages
    from distspec.stages.session import ray_session

    names, flags = (flags[1].split(","), flags[2:]) if flags and flags[0] == "--stages" else (STAGES, flags)
    monitor = ProcessMonitor()
    stages: dict[str, StageCost] = {}
    with tempfile.TemporaryDirectory(prefix="ds-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        size = ["--simulation.n-spectra", str(n)]
        ray_flags = ["--ray.num-cpus", str(n_cpus), "--ray.temp-dir", folder]
        config = parse(["demo", "--root", root, *size, *ray_flags, *flags])
        with ray_session(config.ray):
            monitor.start()
            for name in names:
                monitor.sample()
                monitor.peak_mb.clear()
                monitor.cpu_seconds.clear()
                start, driver, workers = time.monotonic(), _driver_seconds(), monitor.worker_seconds
                run_stages(config, [name])
                seconds = time.monotonic() - start
                monitor.sample()
                record = Path(root, "stages", f"{name}.json")
                stages[name] = StageCost(
                    seconds,
                    _driver_seconds() - driver,
                    monitor.worker_seconds - workers,
                    dict(monitor.peak_mb),
                    dict(monitor.cpu_seconds),
                    json.loads(record.read_text())["summary"],
                )
            monitor.stopped.set()
    sizes = {name: _folder_bytes(Path(root, name)) for name in FOLDERS}
    return RunCost(n, n_cpus, os.getloadavg()[0], stages, sizes)


def run_in_new_process(n: int, n_cpus: int, root: str, flags: Sequence[str] = ()) -> RunCost:
    """Run the pipeline in a new process, as a job would."""
    command = [sys.executable, "-m", "tests.benchmarks.stage_costs", str(n), str(n_cpus), root, *flags]
    environment = {**os.environ, **ENVIRONMENT}
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, env=environment)
    return RunCost.from_json(json.loads(done.stdout.splitlines()[-1]))


def _driver_seconds() -> float:
    return sum(psutil.Process().cpu_times()[:2])


def _folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    cost = measure_run(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
    print(json.dumps(cost.to_json()))
