"""Anomaly scores of spectra: residuals of the reconstruction, density in latent space, and feedback.

Raw scores come from `residuals`; `score` compares them with a reference distribution and combines them,
`latent_density` describes where spectra are in latent space, and `feedback` learns from spectra marked as
interesting or ordinary. The package may import `distspec.clustering` and `distspec.core`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distspec.anomaly.feedback import DiscoveryCurve, rescore_with_marks
    from distspec.anomaly.latent_density import LatentDensity, fit_latent_density
    from distspec.anomaly.residuals import compute_residual_statistics, estimate_model_error
    from distspec.anomaly.score import ReferenceDistribution, compute_anomaly_scores, explain_anomaly

__all__ = [
    "DiscoveryCurve",
    "LatentDensity",
    "ReferenceDistribution",
    "compute_anomaly_scores",
    "compute_residual_statistics",
    "estimate_model_error",
    "explain_anomaly",
    "fit_latent_density",
    "rescore_with_marks",
]

_MODULES = {
    "DiscoveryCurve": "feedback",
    "LatentDensity": "latent_density",
    "ReferenceDistribution": "score",
    "compute_anomaly_scores": "score",
    "compute_residual_statistics": "residuals",
    "estimate_model_error": "residuals",
    "explain_anomaly": "score",
    "fit_latent_density": "latent_density",
    "rescore_with_marks": "feedback",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use: the modules import scikit-learn, SciPy and Numba."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
