"""Update the store from the archive: ``python -m jobs.ingest RECIPE --root URL``."""

import sys

from distspec.cli.run import main

if __name__ == "__main__":
    main(["ingest", *sys.argv[1:]])
