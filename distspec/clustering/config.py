"""Settings of the sweep, and the names of its algorithms and feature spaces.

Kept apart from `distspec.clustering.algorithms` so that reading a configuration does not import scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from distspec.core.errors import ConfigError

SPACE_NAMES = ("features", "latents", "map")
OBSERVED, GAUSSIAN, PERMUTED = "data", "gaussian", "permuted"
COPULA, STUDENT_T = "copula", "student_t"
NULL_MODELS = (GAUSSIAN, PERMUTED, COPULA, STUDENT_T)
ALGORITHMS = ("gmm", "bgmm", "kmeans", "dbscan", "optics", "hdbscan", "hierarchy")
"""Gaussian mixture, Bayesian Gaussian mixture, k-means, DBSCAN, OPTICS, HDBSCAN, agglomerative clustering."""
ALGORITHM_FRACTIONS = {"dbscan": (0.5, 0.8, 0.9, 0.95), "hdbscan": (0.01, 0.02, 0.05), "optics": (0.02, 0.05)}
"""Values of `AlgorithmSpec.fraction` that a sweep tries."""
ALGORITHM_VARIANTS = {"gmm": ("full", "tied", "diag"), "hierarchy": ("ward", "average")}
TRIALS_PER_JOB = {"gmm": 128}
"""Number of trials that one job fits together; 1 for other algorithms."""


@dataclass(frozen=True)
class ClusteringConfig:
    """Settings of the sweep over clusterings and of the selection among them."""

    selection_rule: Literal["silhouette", "consensus"] = "silhouette"
    """silhouette: labels of the trial with the highest silhouette (the published method). consensus:
    consensus labels of the setting whose members agree best, among those that beat structureless data."""
    spaces: tuple[str, ...] = ("map",)
    """Feature spaces to cluster in: features (measurements of reconstructions),
    latents, map (UMAP of the latents)."""
    algorithms: tuple[str, ...] = ("gmm",)
    """Algorithms to try: gmm, bgmm, kmeans, dbscan, optics, hdbscan, hierarchy."""
    k_min: int = 5
    """Smallest number of clusters to try."""
    k_max: int = 15
    """Largest number of clusters to try."""
    covariance_types: tuple[str, ...] = ("full",)
    """Covariance types of Gaussian mixtures to try: full, tied, diag."""
    n_seeds: int = 100
    """Number of ensemble members, each with its own seed, per setting."""
    n_init: int = 1
    """Number of initializations of a Gaussian mixture, of which the one with the highest likelihood is
    kept."""
    resample_fraction: float = 1.0
    """Fraction of the spectra that each ensemble member is fitted to, drawn anew for each; 1 uses all."""
    umap_n_neighbors: tuple[int, ...] = (15,)
    """Numbers of neighbors of UMAP to try."""
    umap_dims: tuple[int, ...] = (2,)
    """Numbers of UMAP dimensions to try; the map in the catalog always has two."""
    umap_min_dist: float = 0.1
    """Minimum distance between points of a UMAP embedding."""
    n_umap_seeds: int = 1
    """Number of UMAP embeddings of each kind; ensemble members take them in turn."""
    measurements: tuple[str, ...] = ()
    """Measurements of the spectra themselves, such as lya_ew, that are appended to the latents."""
    n_models: int = 1
    """Number of models, trained alike from different initial weights, whose latents the ensemble members
    cluster in turn; at most n_seeds are trained. With several models, stability and core are between models.
    The rule silhouette allows one, because its classes are those of a single clustering."""
    n_null_draws: int = 5
    """Number of draws of each null model (structureless data) that scores are compared with; 0 for none. The
    more draws, the better is the significance known."""
    n_null_seeds: int = 2
    """Number of ensemble members per setting on null data."""
    alpha: float = 0.01
    """Probability, over all settings of the sweep, that structureless data count as beating the null test."""
    min_stability: float = 0.9
    """Smallest mean adjusted Rand index between members at which a clustering counts as reproducible. The
    rule consensus selects the finest clustering of a space that reaches it."""
    min_core_stability: float = 0.9
    """Smallest membership stability at which a spectrum belongs to the core of its class."""
    min_class_jaccard: float = 0.6
    """Smallest mean Jaccard index of a consensus class with the most similar cluster of each member; spectra
    of other classes get no class. 0 keeps all."""
    sample_size: int = 20_000
    """Number of spectra that the sweep is fitted to if there are more; all are assigned afterwards."""
    silhouette_sample_size: int = 5_000
    """Number of spectra in the stratified sample that silhouettes are computed on if there are more."""
    n_actors: int = 0
    """Number of Ray actors that run the sweep; 0 for one per CPU."""
    use_gpu: bool = False
    """Fit Gaussian mixtures on the cluster's GPUs, each shared by four actors."""

    def __post_init__(self) -> None:
        self._check_numbers_of_clusters()
        for name, values, allowed in (
            ("spaces", self.spaces, SPACE_NAMES),
            ("algorithms", self.algorithms, ALGORITHMS),
            ("covariance_types", self.covariance_types, ALGORITHM_VARIANTS["gmm"]),
        ):
            if not values or set(values) - set(allowed):
                raise ConfigError(
                    f"clustering.{name} is {', '.join(values) or 'empty'}: choose from {', '.join(allowed)}"
                )
        for name in ("n_seeds", "n_models", "n_init", "n_umap_seeds", "n_null_seeds"):
            self._check(name, getattr(self, name) >= 1, "must be at least 1")
        for name in ("umap_min_dist", "n_null_draws", "n_actors"):
            self._check(name, getattr(self, name) >= 0, "must not be negative")
        for name in ("sample_size", "silhouette_sample_size"):
            self._check(name, getattr(self, name) >= 2, "must be at least 2")
        for name in ("umap_n_neighbors", "umap_dims"):
            self._check(name, min(getattr(self, name), default=0) >= 2, "must list numbers of at least 2")
        self._check("resample_fraction", 0 < self.resample_fraction <= 1, "must be above 0 and at most 1")
        self._check("alpha", 0 < self.alpha < 1, "must be between 0 and 1")
        if self.selection_rule == "consensus":
            self._check("n_seeds", self.n_seeds >= 2, "must be at least 2 for the rule consensus")
        else:
            self._check("n_models", self.n_models == 1, "must be 1 for the rule silhouette")

    @property
    def n_clustered_models(self) -> int:
        """Number of models whose latents are clustered: each needs a member of its own."""
        return min(self.n_models, self.n_seeds)

    def _check_numbers_of_clusters(self) -> None:
        if not 2 <= self.k_min <= self.k_max:
            raise ConfigError(
                f"clustering.k_min is {self.k_min} and k_max {self.k_max}: 2 ≤ k_min ≤ k_max must hold"
            )

    def _check(self, name: str, is_valid: bool, requirement: str) -> None:
        if not is_valid:
            raise ConfigError(f"clustering.{name} is {getattr(self, name)}: it {requirement}")

    def get_defining_settings(self) -> dict[str, object]:
        """Return the settings that the result of a run depends on: all but the number of actors.

        Returns
        -------
        dict of str to object
            Values by setting name.
        """
        return {name: value for name, value in vars(self).items() if name != "n_actors"}


class FeatureSpace(NamedTuple):
    """A space that is clustered.

    Attributes
    ----------
    name : str
        "features", "latents" or "map".
    umap_n_neighbors, umap_dims, umap_seed : int
        Parameters of the UMAP embedding; 0 for other spaces.
    """

    name: str
    umap_n_neighbors: int = 0
    umap_dims: int = 0
    umap_seed: int = 0

    @property
    def title(self) -> str:
        """Name of the space, the same for all seeds of a map."""
        return f"map {self.umap_dims}-D, {self.umap_n_neighbors} neighbors" if self.umap_dims else self.name


class AlgorithmSpec(NamedTuple):
    """A clustering algorithm and its parameters; parameters that it does not use keep their defaults.

    Attributes
    ----------
    algorithm : str
        One of `ALGORITHMS`.
    k : int
        Number of clusters; 0 if the algorithm finds it.
    variant : str
        Covariance type of a Gaussian mixture ("full", "tied", "diag"), linkage of a hierarchy ("ward",
        "average").
    fraction : float
        DBSCAN: quantile of the neighbor distances that is taken as eps. HDBSCAN and OPTICS: smallest size of
        a cluster as a fraction of the points.
    """

    algorithm: str
    k: int = 0
    variant: str = ""
    fraction: float = 0.0

    def __str__(self) -> str:
        words = [self.algorithm, self.variant]
        words += [f"k = {self.k}"] if self.k else []
        words += [f"{self.fraction:g}"] if self.fraction else []
        return " ".join(word for word in words if word)
