"""NEEDS A DOCSTRING."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from distspec.core.records import collect_versions, compute_fingerprint, lists_to_tuples, utc_now_iso
from distspec.models.config import VAEConfig
from distspec.store.store import Store
from distspec.training.config import TrainingConfig


def compute_model_id(
    data_digest: str, vae: VAEConfig, training: TrainingConfig, seed: int, parent_model_id: str = ""
) -> str:
    """Name the model that these settings make of a data set: the same settings find it again.

    Parameters
    ----------
    data_digest : str
        Of the data set: `distspec.store.store.Store.dataset_checksum`.
    vae, training, seed
        Its settings.
    parent_model_id : str
        The model whose weights it starts from; empty: it starts anew.
    """
    warm = [parent_model_id] if parent_model_id else []
    return "m-" + compute_fingerprint(data_digest, asdict(vae), training.get_defining_settings(), seed, *warm)


def build_model_record(
    store: Store, model_id: str, training_config: TrainingConfig, seed: int, parent: str = ""
) -> dict[str, Any]:
    """Return what the record of a model says of where it comes from, and what it can be used on."""
    frozen = store.config
    return {
        "model_id": model_id,
        "seed": seed,
        "parent": parent,
        "snapshot_id": store.snapshot_id,
        "data_digest": store.dataset_checksum(),
        "kind": frozen.archive_name,
        "grid": frozen.grid.to_dict(),
        "normalisation": {
            "reference": frozen.reference_wave,
            "sample_slope": frozen.default_slope,
            "settings": dict(frozen.preprocessing),
        },
        "training": asdict(training_config),
        "created": utc_now_iso(),
        "versions": collect_versions(),
    }


def get_model_settings(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decided which model came out, by the names of flags; defaults for what came later.

    Parameters
    ----------
    record : mapping
        ``model.json``.
    """

    def known(kind: type[Any], given: Mapping[str, Any]) -> Any:
        names = {field.name for field in fields(kind)}
        return kind(**{name: value for name, value in lists_to_tuples(given).items() if name in names})

    vae, training = known(VAEConfig, record["vae"]), known(TrainingConfig, record["training"])
    return {
        **{f"vae.{name}": value for name, value in asdict(vae).items()},
        **{f"training.{name}": value for name, value in training.get_defining_settings().items()},
        "seed": record["seed"],
    }
