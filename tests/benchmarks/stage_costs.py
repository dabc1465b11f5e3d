"""What every stage of a real run costs: seconds, CPU seconds of driver and workers, memory, bytes kept.

    python -m tests.benchmarks.stage_costs N CPUS ROOT [FLAG …]

runs recipe `demo` on N made-up spectra on a Ray of so many CPUs, stage by stage, and prints JSON. CPU seconds
are what to compare where a machine is shared: they hardly know who else is at work.
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
from pathlib import Path
from typing import Any

import psutil

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
# Ray's workers are niced unless told otherwise.
ENVIRONMENT = {**dict.fromkeys(ONE_THREAD, "1"), "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
EVERY = 0.1
MB = 1e6
KEPT = ("archive", "store", "models", "runs", "catalog")
SERVICES = ("raylet", "gcs_server", "ray/_private", "ray/dashboard")
"""Ray's own processes, which work for every stage and are nobody's."""


class Watch(threading.Thread):
    """Follows CPU time and memory of this process and all that it has started."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.n_done = threading.Event()
        self.workers: dict[int, float] = {}
        self.peaks: dict[str, float] = defaultdict(float)
        self.cpu: dict[str, float] = defaultdict(float)

    def run(self) -> None:
        while not self.n_done.wait(EVERY):
            self.look()

    def look(self) -> None:
        me = psutil.Process()
        self._peak("driver", me)
        for each in me.children(recursive=True):
            try:
                title = " ".join(each.cmdline())
                if any(service in title for service in SERVICES):
                    continue
                used = sum(each.cpu_times()[:2])
                name = title.removeprefix("ray::").split()[0].split("(")[0] if title else "gone"
                self.cpu[name] += used - self.workers.get(each.pid, 0.0)
                self.workers[each.pid] = used
                if title.startswith("ray::") and "IDLE" not in title:
                    self._peak(name, each)
            except psutil.NoSuchProcess:
                continue

    def _peak(self, name: str, process: psutil.Process) -> None:
        held = process.memory_info()
        self.peaks[name] = max(self.peaks[name], (held.rss - held.shared) / MB)


def measure(n: int, cpus: int, root: str, flags: Sequence[str] = ()) -> dict[str, Any]:
    """Run the pipeline here, and return what each stage took; `--stages` is the one flag that is our own."""
    from distspec.pipeline.recipes import parse
    from distspec.pipeline.runner import STAGES, run_stages
    from distspec.stages.session import ray_session

    names, flags = (flags[1].split(","), flags[2:]) if flags and flags[0] == "--stages" else (STAGES, flags)
    watch = Watch()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="ds-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        config = parse(
            ["demo", "--root", root, "--synthetic.n-spectra", str(n), "--ray.num-cpus", str(cpus),
             "--ray.temp-dir", folder, *flags]
        )  # fmt: skip
        with ray_session(config.ray):
            watch.start()
            for name in names:
                watch.look()
                watch.peaks.clear()
                watch.cpu.clear()
                start, driver, workers = time.monotonic(), _cpu(), sum(watch.workers.values())
                run_stages(config, [name])
                seconds = time.monotonic() - start
                watch.look()
                found[name] = {
                    "seconds": seconds,
                    "driver": _cpu() - driver,
                    "workers": sum(watch.workers.values()) - workers,
                    "peaks": dict(watch.peaks),
                    "cpu": dict(watch.cpu),
                    "counts": json.loads(Path(root, "stages", f"{name}.json").read_text())["counts"],
                }
            watch.n_done.set()
    return {
        "spectra": n,
        "cpus": cpus,
        "load": os.getloadavg()[0],
        "stages": found,
        "bytes": {name: _size(Path(root, name)) for name in KEPT},
    }


def afresh(n: int, cpus: int, root: str, flags: Sequence[str] = ()) -> Mapping[str, Any]:
    """Do it in a process of its own, as a job is run."""
    command = [sys.executable, "-m", "tests.benchmarks.stage_costs", str(n), str(cpus), root, *flags]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, check=True, text=True, env={**os.environ, **ENVIRONMENT}
    )
    return json.loads(done.stdout.splitlines()[-1])


def _cpu() -> float:
    return sum(psutil.Process().cpu_times()[:2])


def _size(folder: Path) -> int:
    return sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])))
