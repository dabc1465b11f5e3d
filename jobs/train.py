"""Train a model if needed, and promote it if it is better: ``python -m jobs.train RECIPE --root URL``."""

import sys

from distspec.cli.run import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
