"""What a measurement was made on, and of."""

from __future__ import annotations

import platform
from pathlib import Path


def cpu_model() -> str:
    """Return the processor's name, where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())


def first_run(root: str) -> str:
    """Name the run under a local root that was made first: the one on all spectra."""
    runs = [each for each in Path(root, "runs").iterdir() if (each / "run.json").exists()]
    return min(runs, key=lambda each: (each / "run.json").stat().st_mtime).name
