"""``python -m tests.soak --runs 40 --seed 0``."""

import argparse
import time

from tests.soak.sabotage import KINDS, LATEST
from tests.soak.soak import soak

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--runs", type=int, default=40)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--kinds", nargs="*", default=(), choices=[*KINDS], help="in turn; none: at random")
parser.add_argument("--latest", type=float, default=LATEST, help="seconds after a job's begin, at most")
parser.add_argument("--minutes", type=float, default=float("inf"), help="no run begins later")
given = parser.parse_args()
start = time.monotonic()
soak(
    given.runs,
    given.seed,
    lambda line: print(line, flush=True),
    kinds=given.kinds,
    minutes=given.minutes,
    latest=given.latest,
)
print(f"with its twin {(time.monotonic() - start) / 60:.0f} min")
