"""Measure redshifts with the model: ``python -m jobs.redshifts RECIPE --root URL``."""

import sys

from distspec.cli.run import main

if __name__ == "__main__":
    main(["redshifts", *sys.argv[1:]])
