"""A complete run of recipe demo that takes half a minute: few spectra, pixels, epochs and seeds."""

from __future__ import annotations

from pathlib import Path

from distspec.pipeline.config import Config
from distspec.pipeline.recipes import parse

SMALL = [
    *("--simulation.n-spectra", "260", "--simulation.seed", "4", "--grid.n-pixels", "128"),
    *("--training.learning-rate", "1e-3", "--training.max-epochs", "8"),
    *("--clustering.spaces", "features", "map", "--clustering.algorithms", "gmm", "hdbscan"),
    *("--clustering.n-seeds", "2", "--clustering.n-umap-seeds", "1", "--clustering.k-max", "6"),
    *("--clustering.n-null-draws", "0", "--clustering.n-models", "1", "--clustering.n-actors", "1"),
]
"""Settings of the run, as arguments of ``distspec run demo``."""


def small_demo(root: Path) -> Config:
    """Return the settings of the run at a root."""
    return parse(["demo", "--root", str(root), *SMALL])
