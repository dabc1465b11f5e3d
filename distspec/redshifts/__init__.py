"""Redshifts of observed spectra, measured with a trained model.

`RedshiftEstimator` compares spectra with those that the model describes, at all redshifts, and returns a
`RedshiftPosterior` of each. The package may import `distspec.models`, `preprocessing` and `core`; names are
imported on first use, so that importing the package does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distspec.redshifts.config import RedshiftConfig
    from distspec.redshifts.estimate import RedshiftEstimates, RedshiftEstimator
    from distspec.redshifts.posterior import RedshiftPosterior
    from distspec.redshifts.templates import TemplateMixture

__all__ = [
    "RedshiftConfig",
    "RedshiftEstimates",
    "RedshiftEstimator",
    "RedshiftPosterior",
    "TemplateMixture",
]

_MODULES = {
    "RedshiftConfig": "config",
    "RedshiftEstimates": "estimate",
    "RedshiftEstimator": "estimate",
    "RedshiftPosterior": "posterior",
    "TemplateMixture": "templates",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
