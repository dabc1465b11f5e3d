"""Types, errors and small functions that every other package uses.

It holds the data types of spectra, the tree of errors, JSON records with checksums, the schema of the
published tables, lines and instruments of the field, and estimates of memory. It imports no other package of
distspec, and neither torch, Ray nor matplotlib.
"""

from distspec.core.errors import (
    ArchiveError,
    CatalogError,
    ClusteringError,
    ConfigError,
    DistspecError,
    InvalidSpectrumError,
    LabelError,
    LeaseHeldError,
    LeaseLostError,
    ModelError,
    NotFoundError,
    QuarantineReason,
    QuarantineRecord,
    StorageError,
    StoreError,
    TrainingDivergedError,
    TrainingError,
)
from distspec.core.spectrum import Spectrum, SpectrumBatch, WavelengthGrid

__all__ = [
    "ArchiveError",
    "CatalogError",
    "ClusteringError",
    "ConfigError",
    "DistspecError",
    "InvalidSpectrumError",
    "LabelError",
    "LeaseHeldError",
    "LeaseLostError",
    "ModelError",
    "NotFoundError",
    "QuarantineReason",
    "QuarantineRecord",
    "Spectrum",
    "SpectrumBatch",
    "StorageError",
    "StoreError",
    "TrainingDivergedError",
    "TrainingError",
    "WavelengthGrid",
]
