"""Map the latents and sweep over clusterings: ``python -m jobs.cluster RECIPE --root URL``."""

from distspec.pipeline.runner import main

if __name__ == "__main__":
    main("cluster")
