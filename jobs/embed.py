"""Embed every row of the store: ``python -m jobs.embed RECIPE --root URL``."""

from distspec.pipeline import main

if __name__ == "__main__":
    main("embed")
