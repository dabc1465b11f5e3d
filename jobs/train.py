"""Train the VAE on the store as it is now: ``python -m jobs.train RECIPE --root URL``."""

from distspec.pipeline.runner import main

if __name__ == "__main__":
    main("train")
