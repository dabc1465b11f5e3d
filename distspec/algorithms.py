"""Clustering algorithms by name, and what is set of them; `distspec.clustering` has what they do.

Apart from it: whoever trains or embeds knows the settings of a sweep, and need not wait for scikit-learn.
"""

from __future__ import annotations

from typing import NamedTuple

ALGORITHMS = ("gmm", "bgmm", "kmeans", "dbscan", "optics", "hdbscan", "hierarchy")
"""Gaussian mixtures, Bayesian ones, k-means, DBSCAN, OPTICS, HDBSCAN, agglomerative hierarchies."""


class Setting(NamedTuple):
    """An algorithm and its parameters: those that it has no use for keep their defaults."""

    algorithm: str
    k: int = 0
    """Clusters asked for; 0 where the algorithm finds their number."""
    variant: str = ""
    """Of mixtures the covariance (full, tied, diag), of hierarchies the linkage (ward, average)."""
    scale: float = 0.0
    """Of dbscan the share of points that are dense, of hdbscan and optics a cluster's least share."""

    def __str__(self) -> str:
        """Say it in a few words."""
        words = [self.algorithm, self.variant]
        words += [f"k = {self.k}"] if self.k else []
        words += [f"{self.scale:g}"] if self.scale else []
        return " ".join(word for word in words if word)
