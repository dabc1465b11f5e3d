"""Cluster the spectra: ``python -m jobs.cluster RECIPE --root URL``."""

import sys

from distspec.cli.run import main

if __name__ == "__main__":
    main(["cluster", *sys.argv[1:]])
