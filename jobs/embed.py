"""Embed every row of the store: ``python -m jobs.embed RECIPE --root URL``."""

from distspec.pipeline.runner import main

if __name__ == "__main__":
    main("embed")
