"""Classes and anomalies in growing archives of spectra."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distspec.model import Model as Model
    from distspec.model import load_model as load_model

__version__ = "0.1.0"
__all__ = ["Model", "__version__", "load_model"]


def __getattr__(name: str) -> Any:
    """Import what is asked for, and no sooner: torch takes seconds."""
    if name not in ("Model", "load_model"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from distspec import model

    return getattr(model, name)
