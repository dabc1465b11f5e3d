"""NEEDS A DOCSTRING."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from distspec.core.records import fingerprint, now, tuples, versions
from distspec.models.config import VAEConfig
from distspec.store.store import Store
from distspec.training.config import TrainingConfig


def model_id(digest: str, vae: VAEConfig, training: TrainingConfig, seed: int, parent: str = "") -> str:
    """Name the model that these settings make of a data set: the same settings find it again.

    Parameters
    ----------
    digest : str
        Of the data set: `distspec.store.store.Store.digest`.
    vae, training, seed
        Its settings.
    parent : str
        The model whose weights it starts from; empty: it starts anew.
    """
    warm = [parent] if parent else []
    return "m-" + fingerprint(digest, asdict(vae), training.defining(), seed, *warm)


def origin(store: Store, name: str, training: TrainingConfig, seed: int, parent: str = "") -> dict[str, Any]:
    """Return what the record of a model says of where it comes from, and what it can be used on."""
    frozen = store.frozen
    return {
        "model_id": name,
        "seed": seed,
        "parent": parent,
        "snapshot_id": store.snapshot_id,
        "data_digest": store.digest(),
        "kind": frozen.kind,
        "grid": frozen.grid.to_dict(),
        "normalisation": {
            "reference": frozen.reference,
            "sample_slope": frozen.sample_slope,
            "settings": dict(frozen.settings),
        },
        "training": asdict(training),
        "created": now(),
        "versions": versions(),
    }


def settings_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decided which model came out, by the names of flags; defaults for what came later.

    Parameters
    ----------
    record : mapping
        ``model.json``.
    """

    def known(kind: type[Any], given: Mapping[str, Any]) -> Any:
        names = {field.name for field in fields(kind)}
        return kind(**{name: value for name, value in tuples(given).items() if name in names})

    vae, training = known(VAEConfig, record["vae"]), known(TrainingConfig, record["training"])
    return {
        **{f"vae.{name}": value for name, value in asdict(vae).items()},
        **{f"training.{name}": value for name, value in training.defining().items()},
        "seed": record["seed"],
    }
