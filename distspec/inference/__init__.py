"""Application of a run to spectra: descriptions, predictions, similar spectra and re-ranked anomalies.

`latents` and `describe` hold the one path from spectra to latents, measurements, features, classes and
anomaly scores, which the cluster stage and the evaluation of models use as well; `RunModel` holds the arrays
with which a run is applied. The package may import `distspec.catalog` and the packages below it, but neither
Ray nor matplotlib.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distspec.inference.describe import SpectrumDescription, describe_spectra
    from distspec.inference.predict import Predictor
    from distspec.inference.prediction import Prediction
    from distspec.inference.rerank import rerank_anomalies
    from distspec.inference.run_model import RunModel
    from distspec.inference.similarity import find_similar

__all__ = [
    "Prediction",
    "Predictor",
    "RunModel",
    "SpectrumDescription",
    "describe_spectra",
    "find_similar",
    "rerank_anomalies",
]

_MODULES = {
    "Prediction": "prediction",
    "Predictor": "predict",
    "RunModel": "run_model",
    "SpectrumDescription": "describe",
    "describe_spectra": "describe",
    "find_similar": "similarity",
    "rerank_anomalies": "rerank",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use, since torch and scikit-learn take seconds to import."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
