"""Encode every spectrum of the store with the model: ``python -m jobs.embed RECIPE --root URL``."""

import sys

from distspec.cli.run import main

if __name__ == "__main__":
    main(["embed", *sys.argv[1:]])
