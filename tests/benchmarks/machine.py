"""Description of the machine that a benchmark ran on, and the environment of its processes."""

from __future__ import annotations

import platform
from pathlib import Path

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
# Ray lowers the priority of its workers by default: they would then wait for other processes on the machine,
# while the code that they are compared with does not.
ENVIRONMENT = {**dict.fromkeys(ONE_THREAD, "1"), "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
"""Environment variables of benchmarks; numpy, torch and Ray read them when they are imported."""


def cpu_model() -> str:
    """Return the name of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())
