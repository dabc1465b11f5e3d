"""Classes and anomalies in growing archives of spectra."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distspec.inference.predict import Placer as Placer
    from distspec.inference.predict import place as place
    from distspec.inference.rerank import rerank as rerank
    from distspec.inference.similarity import similar as similar
    from distspec.models.model import Model as Model
    from distspec.models.model import load_model as load_model

__version__ = "0.1.0"
__all__ = ["Model", "Placer", "__version__", "load_model", "place", "rerank", "similar"]

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
