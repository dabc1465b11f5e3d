"""Recall of plateaus of 5 to 13 pixels that are put into the real DJA files at random places.

    python -m tests.benchmarks.plateaus [--n 500]

The limits of the search were chosen on these files.
"""

from __future__ import annotations

import argparse

import numpy as np

from tests.conftest import DATA
from tests.helpers.plateaus import find_in_spectra, insert_plateaus, read_spectra


def main() -> None:
    """Print the recall by height, and how many unchanged spectra are flagged."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--n", type=int, default=500, help="number of plateaus of each height")
    n = parser.parse_args().n
    spectra, rng = read_spectra(DATA / "dja"), np.random.default_rng(0)
    unchanged = find_in_spectra(spectra)
    print(f"unchanged: {(unchanged.score >= 1).sum()} of {len(spectra)} flagged")
    print("| height [sigma] | flagged |\n|---:|---:|")
    for height in (30.0, 100.0, 300.0):
        flagged = find_in_spectra(insert_plateaus(spectra, n, height, rng)).score >= 1.0
        error = np.sqrt(flagged.mean() * (1.0 - flagged.mean()) / n)
        print(f"| {height:.0f} | {flagged.mean():.2f} ± {error:.2f} |")


if __name__ == "__main__":
    main()
