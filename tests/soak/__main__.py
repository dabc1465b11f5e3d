"""Run a soak test: ``python -m tests.soak --runs 40 --seed 0``."""

import argparse
import time

from tests.soak.faults import FAULTS, MAX_DELAY
from tests.soak.soak import soak

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--runs", type=int, default=40)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--faults", nargs="*", default=(), choices=[*FAULTS], help="in turn; none: at random")
parser.add_argument("--max-delay", type=float, default=MAX_DELAY, help="latest fault after a job's start [s]")
parser.add_argument("--minutes", type=float, default=float("inf"), help="no run starts later than this")
arguments = parser.parse_args()
start = time.monotonic()
soak(
    arguments.runs,
    arguments.seed,
    lambda line: print(line, flush=True),
    faults=arguments.faults,
    minutes=arguments.minutes,
    max_delay=arguments.max_delay,
)
print(f"{(time.monotonic() - start) / 60:.0f} min, including the undisturbed runs")
