"""The variational autoencoder of spectra: network, files, embeddings in the store, and the promoted model.

`Model` is the interface for NumPy arrays and `SpectrumVAE` the network behind it; `ModelRecord` describes a
model's origin. The package may import `distspec.archives`, `clustering`, `measurements`, `preprocessing`,
`store`, `io` and `core`; names are imported on first use, so that importing the package does not import
torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distspec.models.batch import Batch
    from distspec.models.config import VAEConfig
    from distspec.models.embed import embed_spectra
    from distspec.models.latents import append_latents, count_embedded, read_latents
    from distspec.models.model import Model, load_model
    from distspec.models.neighbors import NeighborIndex, Posteriors, find_nearest
    from distspec.models.record import ModelRecord, TrainingMetrics, has_model, read_model_record
    from distspec.models.registry import PromotedModel, promote, read_promoted
    from distspec.models.serialization import import_model, load_history, load_vae, save_model
    from distspec.models.vae import SpectrumVAE

__all__ = [
    "Batch",
    "Model",
    "ModelRecord",
    "NeighborIndex",
    "Posteriors",
    "PromotedModel",
    "SpectrumVAE",
    "TrainingMetrics",
    "VAEConfig",
    "append_latents",
    "count_embedded",
    "embed_spectra",
    "find_nearest",
    "has_model",
    "import_model",
    "load_history",
    "load_model",
    "load_vae",
    "promote",
    "read_latents",
    "read_model_record",
    "read_promoted",
    "save_model",
]

_MODULES = {
    "Batch": "batch",
    "Model": "model",
    "ModelRecord": "record",
    "NeighborIndex": "neighbors",
    "Posteriors": "neighbors",
    "PromotedModel": "registry",
    "SpectrumVAE": "vae",
    "TrainingMetrics": "record",
    "VAEConfig": "config",
    "append_latents": "latents",
    "count_embedded": "latents",
    "embed_spectra": "embed",
    "find_nearest": "neighbors",
    "has_model": "record",
    "import_model": "serialization",
    "load_history": "serialization",
    "load_model": "model",
    "load_vae": "serialization",
    "promote": "registry",
    "read_latents": "latents",
    "read_model_record": "record",
    "read_promoted": "registry",
    "save_model": "serialization",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
