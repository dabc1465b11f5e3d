"""Simulate the archive of a recipe: ``python -m jobs.synthesize RECIPE --root URL``."""

import sys

from distspec.cli.run import main

if __name__ == "__main__":
    main(["synthesize", *sys.argv[1:]])
