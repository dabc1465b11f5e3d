"""Clustering: the sweep over algorithms and spaces, its scores and null tests, and consensus classes.

The package holds the algorithms and their settings (`config`, `plan`, `algorithms`), scores (`trials`,
`silhouette`, `null_tests`, `sweep_scores`), the `selection` of a setting, and the assignment of spectra to
classes (`consensus`, `umap`, `labeler`). It may import `distspec.core` and `distspec.io`; it knows nothing of
stores, models or Ray.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distspec.clustering.algorithms import Clustering, fit_clustering, fit_clusterings
    from distspec.clustering.config import AlgorithmSpec, ClusteringConfig, FeatureSpace
    from distspec.clustering.consensus import Consensus, compute_stability, find_consensus
    from distspec.clustering.labeler import Assignment, EnsembleLabeler, EnsembleMember
    from distspec.clustering.null_tests import NullTest, run_null_test
    from distspec.clustering.selection import Selection, select_setting
    from distspec.clustering.silhouette import davies_bouldin, silhouette_scores
    from distspec.clustering.sweep_scores import SweepScores, score_sweep
    from distspec.clustering.umap import UmapEmbedding, UmapParams, build_neighbor_graph

__all__ = [
    "AlgorithmSpec",
    "Assignment",
    "Clustering",
    "ClusteringConfig",
    "Consensus",
    "EnsembleLabeler",
    "EnsembleMember",
    "FeatureSpace",
    "NullTest",
    "Selection",
    "SweepScores",
    "UmapEmbedding",
    "UmapParams",
    "build_neighbor_graph",
    "compute_stability",
    "davies_bouldin",
    "find_consensus",
    "fit_clustering",
    "fit_clusterings",
    "run_null_test",
    "score_sweep",
    "select_setting",
    "silhouette_scores",
]

_MODULES = {
    "AlgorithmSpec": "config",
    "Assignment": "labeler",
    "Clustering": "algorithms",
    "ClusteringConfig": "config",
    "Consensus": "consensus",
    "EnsembleLabeler": "labeler",
    "EnsembleMember": "labeler",
    "FeatureSpace": "config",
    "NullTest": "null_tests",
    "Selection": "selection",
    "SweepScores": "sweep_scores",
    "UmapEmbedding": "umap",
    "UmapParams": "umap",
    "build_neighbor_graph": "umap",
    "compute_stability": "consensus",
    "davies_bouldin": "silhouette",
    "find_consensus": "consensus",
    "fit_clustering": "algorithms",
    "fit_clusterings": "algorithms",
    "run_null_test": "null_tests",
    "score_sweep": "sweep_scores",
    "select_setting": "selection",
    "silhouette_scores": "silhouette",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use: the algorithms import torch, Numba and scikit-learn."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
