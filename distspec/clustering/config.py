"""Clustering algorithms by name, and what is set of them; `distspec.clustering.algorithms` has what they do.

Apart from it: whoever trains or embeds knows the settings of a sweep, and need not wait for scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

SPACE_NAMES = ("features", "latents", "map")
OBSERVED, GAUSSIAN, PERMUTED = "data", "gaussian", "permuted"
NULL_MODELS = (GAUSSIAN, PERMUTED)
ALGORITHM_FRACTIONS = {"dbscan": (0.5, 0.8, 0.9, 0.95), "hdbscan": (0.01, 0.02, 0.05), "optics": (0.02, 0.05)}
"""What is tried of algorithms that find the number of clusters by themselves: `Setting.scale`."""
ALGORITHM_VARIANTS = {"gmm": ("full", "tied", "diag"), "hierarchy": ("ward", "average")}
TRIALS_PER_JOB = {"gmm": 128}
"""Trials of one job, where an algorithm makes many at once."""


@dataclass(frozen=True)
class ClusteringConfig:
    """The spaces, the sweep over them, and how its result is chosen."""

    selection_rule: Literal["silhouette", "consensus"] = "silhouette"
    """silhouette: the labels of the trial that has the best one (the published rule); consensus: what repeats
    of a clustering agree on that repeats and beats its null."""
    spaces: tuple[str, ...] = ("map",)
    """Of features (measures of decoded spectra), latents, map (UMAP of the latents); classes are taken
    from the first in which a clustering repeats."""
    algorithms: tuple[str, ...] = ("gmm",)
    """Of gmm, bgmm, kmeans, dbscan, optics, hdbscan, hierarchy."""
    k_min: int = 5
    """Fewest clusters tried."""
    k_max: int = 15
    """Most clusters tried."""
    covariance_types: tuple[str, ...] = ("full",)
    """Of Gaussians: full, tied, diag."""
    n_seeds: int = 100
    """Repeats of every setting."""
    n_init: int = 1
    """A mixture is begun so often, and the likeliest kept."""
    resample_fraction: float = 1.0
    """Share of the spectra, drawn anew for each repeat, that it is fitted to; 1: all of them."""
    umap_n_neighbors: tuple[int, ...] = (15,)
    """UMAP's neighbourhoods."""
    umap_dims: tuple[int, ...] = (2,)
    """UMAP's dimensions; the catalogue's map has two."""
    umap_min_dist: float = 0.1
    """UMAP's least distance between points on the map."""
    n_umap_seeds: int = 1
    """Maps of each kind, from different seeds; repeats take them in turn."""
    measurements: tuple[str, ...] = ()
    """What is measured on the spectra themselves and counts beside the model's, such as lya_ew."""
    extra_models: tuple[str, ...] = ()
    """Other models under this root, embedded: their latents are repeats, too."""
    n_null_draws: int = 0
    """Draws of each kind of structureless data that scores are held against; 0: none."""
    n_null_seeds: int = 2
    """Repeats of every setting on them."""
    alpha: float = 0.01
    """False alarm rate, over the whole sweep, at which a clustering counts as beating its null."""
    min_stability: float = 0.8
    """Mean adjusted Rand index of two repeats from which on a clustering counts as one that repeats."""
    min_core_stability: float = 0.9
    """Spectra whose repeats agree at least so well are a class's core."""
    sample_size: int = 20_000
    """Above so many spectra the sweep is fitted on a sample of this size; all are assigned."""
    silhouette_sample_size: int = 5_000
    """Above so many of them silhouettes are taken on a stratified sample of this size."""
    dbcv_sample_size: int = 0
    """Points on which the density-based validity index is taken; 0: it is not."""
    n_actors: int = 0
    """Ray actors that share the sweep; 0: one a CPU."""
    use_gpu: bool = False
    """Fit Gaussian mixtures on the cluster's GPUs, each shared by four actors."""

    def __post_init__(self) -> None:
        if not 2 <= self.k_min <= self.k_max:
            raise ValueError(f"clustering.k_min {self.k_min} and k_max {self.k_max}: need 2 ≤ k_min ≤ k_max")
        for name, given, known in (
            ("spaces", self.spaces, SPACE_NAMES),
            ("algorithms", self.algorithms, ALGORITHMS),
            ("covariances", self.covariance_types, ALGORITHM_VARIANTS["gmm"]),
        ):
            if not given or set(given) - set(known):
                raise ValueError(f"clustering.{name} {', '.join(given)}: choose of {', '.join(known)}")
        if min(self.umap_n_neighbors, default=0) < 2 or min(self.umap_dims, default=0) < 2:
            raise ValueError("clustering.umap_n_neighbors and dims must be at least 2")
        if min(self.n_seeds, self.n_init, self.n_umap_seeds, self.n_null_seeds) < 1:
            raise ValueError("clustering.n_seeds, starts, maps and null_seeds must be at least 1")
        if min(self.umap_min_dist, self.n_null_draws, self.dbcv_sample_size, self.n_actors) < 0:
            raise ValueError(
                "clustering.umap_min_dist, null_draws, dbcv_sample and actors must not be negative"
            )
        if min(self.sample_size, self.silhouette_sample_size) < 2:
            raise ValueError("clustering.sample_size and silhouette_sample must be at least 2")
        if not 0 < self.resample_fraction <= 1 or not 0 < self.alpha < 1:
            raise ValueError(
                "clustering.resample_fraction must be above 0 and at most 1, level between 0 and 1"
            )
        if self.selection_rule == "consensus" and self.n_seeds < 2:
            raise ValueError(
                "clustering.n_seeds must be at least 2 for the rule consensus: what would agree?"
            )

    def get_defining_settings(self) -> dict[str, object]:
        """Return what a run's result depends on."""
        return {name: value for name, value in vars(self).items() if name != "n_actors"}


class FeatureSpace(NamedTuple):
    """Where points lie: what is clustered."""

    name: str
    umap_n_neighbors: int = 0
    umap_dims: int = 0
    umap_seed: int = 0
    """Of the map."""

    @property
    def title(self) -> str:
        """Name it, whatever its seed."""
        return f"map {self.umap_dims}-D, {self.umap_n_neighbors} neighbours" if self.umap_dims else self.name


ALGORITHMS = ("gmm", "bgmm", "kmeans", "dbscan", "optics", "hdbscan", "hierarchy")
"""Gaussian mixtures, Bayesian ones, k-means, DBSCAN, OPTICS, HDBSCAN, agglomerative hierarchies."""


class AlgorithmSpec(NamedTuple):
    """An algorithm and its parameters: those that it has no use for keep their defaults."""

    algorithm: str
    k: int = 0
    """Clusters asked for; 0 where the algorithm finds their number."""
    variant: str = ""
    """Of mixtures the covariance (full, tied, diag), of hierarchies the linkage (ward, average)."""
    fraction: float = 0.0
    """Of dbscan the share of points that are dense, of hdbscan and optics a cluster's least share."""

    def __str__(self) -> str:
        """Say it in a few words."""
        words = [self.algorithm, self.variant]
        words += [f"k = {self.k}"] if self.k else []
        words += [f"{self.fraction:g}"] if self.fraction else []
        return " ".join(word for word in words if word)
