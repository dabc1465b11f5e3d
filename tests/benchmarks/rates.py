"""Measure the rates from which `distspec plan` computes, and write them to distspec/pipeline/rates.json.

    python -m tests.benchmarks.rates [--runs FOLDER] [--to FILE]

Recipe `demo` is run on 2,000 simulated spectra on Ray with two CPUs. The operations on a spectrum are then
timed in one process on these spectra (`tests.benchmarks.stage_parts`), training by its CPU time in the run. A
run of 120 spectra gives the time that stages take whatever the size. All times are CPU times, which hardly
depend on the load of the machine. Runs that are already in the folder are not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

from tests.benchmarks.machine import ENVIRONMENT

RATES_PATH = Path(__file__).parents[2] / "distspec" / "pipeline" / "rates.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=Path, help="folder in which runs are kept")
    parser.add_argument("--to", type=Path, default=RATES_PATH, help="file to write")
    args = parser.parse_args()
    os.environ |= ENVIRONMENT  # before numpy and torch are imported
    from tests.benchmarks.rate_measurement import measure_rates

    with tempfile.TemporaryDirectory(prefix="ds-") as temporary:
        rates = measure_rates((args.runs or Path(temporary)).absolute())
    args.to.write_text(json.dumps(rates.to_json(), indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
