"""Run every stage, doing only what is missing: ``python -m jobs.pipeline RECIPE --root URL``."""

from distspec.pipeline.runner import STAGES, main

if __name__ == "__main__":
    main(*STAGES)
