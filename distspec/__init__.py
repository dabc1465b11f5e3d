"""Classes and anomalies in growing archives of spectra."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distspec.inference.predict import Predictor as Predictor
    from distspec.inference.predict import predict as predict
    from distspec.inference.rerank import rerank_anomalies as rerank_anomalies
    from distspec.inference.similarity import find_similar as find_similar
    from distspec.models.model import Model as Model
    from distspec.models.model import load_model as load_model

__version__ = "0.1.0"
__all__ = ["Model", "Predictor", "__version__", "find_similar", "load_model", "predict", "rerank_anomalies"]

_WHERE = {
    "Model": "models.model",
    "Placer": "inference.predict",
    "load_model": "models.model",
    "place": "inference.predict",
    "rerank": "inference.rerank",
    "similar": "inference.similarity",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, and no sooner: torch takes seconds."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"distspec.{_WHERE[name]}"), name)
