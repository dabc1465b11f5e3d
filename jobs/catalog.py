"""Publish the catalogue of a run: ``python -m jobs.catalog RECIPE --root URL``."""

from distspec.pipeline.runner import main

if __name__ == "__main__":
    main("catalog")
