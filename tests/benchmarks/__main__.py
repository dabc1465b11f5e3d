"""Run benchmarks of speed and memory, all or those that are named, and print one table.

    python -m tests.benchmarks [NAME …]

Nothing passes or fails. Rates depend on the machine and on its load; ratios and their ranges, from pairs that
ran alternately, depend on it much less.
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

from tests.benchmarks.machine import ENVIRONMENT, cpu_model
from tests.benchmarks.timing import time_call

FOLDER = Path(__file__).parent
PACKAGES = ("numpy", "torch", "numba", "astropy", "scikit-learn", "ray", "zarr", "icechunk", "spectres")
HEADER = ("benchmark", "measurement", "median", "unit", "min–max", "relative to", "ratio (min–max)")
RIGHT_ALIGNED = {"median", "min–max"}

os.environ |= ENVIRONMENT  # before numpy, torch and Ray are imported


def main(names: Sequence[str]) -> None:
    """Run benchmarks by name, or all of them, and print their rows."""
    known = sorted(path.stem.removeprefix("bench_") for path in FOLDER.glob("bench_*.py"))
    if unknown := set(names) - set(known):
        raise SystemExit(f"no benchmark {', '.join(sorted(unknown))}: choose from {', '.join(known)}")
    table: list[tuple[str, ...]] = []

    def run(name: str) -> None:
        rows = import_module(f"tests.benchmarks.bench_{name}").run()
        table.extend((name, *row.cells()) for row in rows)

    for name in names or known:
        print(f"{name} …", end=" ", file=sys.stderr, flush=True)
        print(f"{time_call(lambda name=name: run(name)):.0f} s", file=sys.stderr)
    print("\n".join([*describe_conditions(), "", *align_columns([HEADER, *table])]))


def describe_conditions() -> list[str]:
    """Return lines with the machine, its load, the versions and the time."""
    packages = [f"{name} {version(name)}" for name in PACKAGES]
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return [
        f"{cpu_model()}, {os.cpu_count()} cores, one thread; load (1, 5, 15 min) {load}",
        f"Python {platform.python_version()}, {platform.platform()}",
        ", ".join(packages),
        f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}; pairs alternate in one process",
    ]


def align_columns(table: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows of a table as lines with aligned columns; the first row is the header."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    signs = [">" if name in RIGHT_ALIGNED else "<" for name in table[0]]
    styles = [f"{sign}{width}" for sign, width in zip(signs, widths, strict=True)]
    lines = ["  ".join(map(format, row, styles)).rstrip() for row in table]
    return [lines[0], "-" * max(map(len, lines)), *lines[1:]]


if __name__ == "__main__":
    main(sys.argv[1:])
