"""Publish the catalog of a run: ``python -m jobs.catalog RECIPE --root URL``."""

import sys

from distspec.cli.run import main

if __name__ == "__main__":
    main(["catalog", *sys.argv[1:]])
