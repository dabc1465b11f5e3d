"""Classes and anomalies in growing archives of galaxy spectra.

    >>> import distspec
    >>> project = distspec.open("/data/dja")  # doctest: +SKIP
    >>> project.query("SELECT class_name, n_spectra FROM classes").to_pandas()  # doctest: +SKIP

`run` runs the pipeline of a recipe, `open` opens its results, and `load_model` loads a trained model alone.
The names of this module are imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distspec.core.errors import (
        ArchiveError,
        CatalogError,
        ClusteringError,
        ConfigError,
        DistspecError,
        InvalidSpectrumError,
        LabelError,
        LeaseHeldError,
        ModelError,
        NotFoundError,
        StorageError,
        StoreError,
        TrainingError,
    )
    from distspec.core.spectrum import Spectrum
    from distspec.inference.predict import Predictor
    from distspec.models.model import Model, load_model
    from distspec.pipeline.config import Config
    from distspec.project.project import Project
    from distspec.project.project import open_project as open
    from distspec.project.project import run_recipe as run
    from distspec.project.spectrum import CatalogSpectrum
    from distspec.project.tables import CatalogTable, QueryResult
    from distspec.redshifts.config import RedshiftConfig
    from distspec.redshifts.estimate import RedshiftEstimator

__version__ = "0.1.0"
__all__ = [
    "ArchiveError",
    "CatalogError",
    "CatalogSpectrum",
    "CatalogTable",
    "ClusteringError",
    "Config",
    "ConfigError",
    "DistspecError",
    "InvalidSpectrumError",
    "LabelError",
    "LeaseHeldError",
    "Model",
    "ModelError",
    "NotFoundError",
    "Predictor",
    "Project",
    "QueryResult",
    "RedshiftConfig",
    "RedshiftEstimator",
    "Spectrum",
    "StorageError",
    "StoreError",
    "TrainingError",
    "__version__",
    "load_model",
    "open",
    "run",
]

_MODULES = {
    "CatalogSpectrum": "project.spectrum",
    "CatalogTable": "project.tables",
    "Config": "pipeline.config",
    "Model": "models.model",
    "Predictor": "inference.predict",
    "Project": "project.project",
    "QueryResult": "project.tables",
    "RedshiftConfig": "redshifts.config",
    "RedshiftEstimator": "redshifts.estimate",
    "Spectrum": "core.spectrum",
    "load_model": "models.model",
    "open": "project.project:open_project",
    "run": "project.project:run_recipe",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: torch and Ray take seconds to import."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _MODULES.get(name, "core.errors").partition(":")
    return getattr(import_module(f"{__name__}.{module}"), attribute or name)


def __dir__() -> list[str]:
    return __all__
