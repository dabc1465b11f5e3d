"""Write the report of the published run: ``python -m jobs.report RECIPE --root URL``."""

import sys

from distspec.cli.run import main

if __name__ == "__main__":
    main(["report", *sys.argv[1:]])
