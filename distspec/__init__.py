"""Classes and anomalies in growing archives of spectra."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distspec.model import Model as Model
    from distspec.model import load_model as load_model
    from distspec.nearest import similar as similar
    from distspec.placing import Placer as Placer
    from distspec.reranking import rerank as rerank
    from distspec.verbs.placing import place as place

__version__ = "0.1.0"
__all__ = ["Model", "Placer", "__version__", "load_model", "place", "rerank", "similar"]

_WHERE = {
    "Model": "model",
    "Placer": "placing",
    "load_model": "model",
    "place": "verbs.placing",
    "rerank": "reranking",
    "similar": "nearest",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, and no sooner: torch takes seconds."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"distspec.{_WHERE[name]}"), name)
