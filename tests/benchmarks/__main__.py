"""Run the benchmarks, all or those named, on one thread, and print one table.

    python -m tests.benchmarks [NAME …]

Nothing here passes or fails. Rates depend on the machine and on what else it does: read the ratios, which
come from pairs that ran one after the other, and their spread.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from datetime import datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from tests.benchmarks.machine import cpu_model
from tests.benchmarks.timing import seconds

HERE = Path(__file__).parent
PACKAGES = ("numpy", "torch", "numba", "astropy", "scikit-learn", "ray", "zarr", "icechunk", "spectres")
HEADER = ("benchmark", "what", "value", "unit", "min–max", "compared with", "ratio (min–max)")
RIGHT = {"value", "min–max"}
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

# Read when numpy, torch and Ray are imported: nothing above imports them. Ray's workers are niced unless told
# otherwise, and would wait for whatever else the machine does while what they are compared with does not.
RAY = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
os.environ |= {**dict.fromkeys(ONE_THREAD, "1"), **RAY}


def main(names: Sequence[str]) -> None:
    """Run benchmarks by name and print their rows; none named: all."""
    known = sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))
    if unknown := set(names) - set(known):
        raise SystemExit(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    table: list[tuple[str, ...]] = []

    def run(name: str) -> None:
        rows = import_module(f"tests.benchmarks.bench_{name}").run()
        table.extend((name, *row.cells()) for row in rows)

    for name in names or known:
        print(f"{name} …", end=" ", file=sys.stderr, flush=True)
        print(f"{seconds(lambda name=name: run(name)):.0f} s", file=sys.stderr)
    print("\n".join([*conditions(), "", *aligned([HEADER, *table])]))


def conditions() -> list[str]:
    """Say on what, with what and when."""
    packages = [f"{name} {version(name)}" for name in PACKAGES]
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return [
        f"{cpu_model()}, {os.cpu_count()} cores, one thread; load (1, 5, 15 min) {load}",
        f"Python {platform.python_version()}, {platform.platform()}",
        ", ".join(packages),
        f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}; medians; pairs alternate in one process",
    ]


def aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Pad cells to columns."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    signs = [">" if name in RIGHT else "<" for name in table[0]]
    styles = [f"{sign}{width}" for sign, width in zip(signs, widths, strict=True)]
    lines = ["  ".join(map(format, row, styles)).rstrip() for row in table]
    return [lines[0], "-" * max(map(len, lines)), *lines[1:]]


main(sys.argv[1:])
