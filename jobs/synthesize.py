"""Write the synthetic archive that a recipe asks for: ``python -m jobs.synthesize RECIPE --root URL``."""

from distspec.pipeline.runner import main

if __name__ == "__main__":
    main("synthesize")
