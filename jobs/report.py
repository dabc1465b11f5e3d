"""Write the report of the published run: ``python -m jobs.report RECIPE --root URL``."""

from distspec.pipeline.runner import main

if __name__ == "__main__":
    main("report")
