"""Bring the store up to what the archive lists: ``python -m jobs.ingest RECIPE --root URL``."""

from distspec.pipeline.runner import main

if __name__ == "__main__":
    main("ingest")
