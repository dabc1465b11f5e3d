"""Simulate the archive of a recipe: ``python -m jobs.simulate RECIPE --root URL``."""

import sys

from distspec.cli.run import main

if __name__ == "__main__":
    main(["simulate", *sys.argv[1:]])
