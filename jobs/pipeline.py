"""Run every stage: ``python -m jobs.pipeline RECIPE --root URL``."""

from distspec.cli.run import main

if __name__ == "__main__":
    main()
