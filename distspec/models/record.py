"""The record of a model, ``ROOT/models/<id>/model.json``. Importing this module does not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from distspec.core.errors import ModelError, NotFoundError
from distspec.core.records import CHECKSUM_KEY, JsonRecord, add_checksum
from distspec.io.files import read_json, url_exists, write_json
from distspec.io.paths import join_url
from distspec.models.config import VAEConfig
from distspec.store.config import StoreConfig

MODEL_FORMAT_VERSION = 5
"""Version of the files of a model; models of other versions are refused."""
RECORD_FILE = "model.json"
WEIGHTS_FILE = "weights.safetensors"
HISTORY_FILE = "history.parquet"
CHECKSUM_FILES: Mapping[str, str] = {"weights_sha256": WEIGHTS_FILE, "history_sha256": HISTORY_FILE}
"""Files whose SHA-256 the record holds, by the record's key."""


@dataclass(frozen=True)
class TrainingMetrics(JsonRecord):
    """Result of a training.

    Attributes
    ----------
    n_train, n_validation : int
        Number of spectra trained on and held out.
    n_epochs : int
        Number of epochs trained.
    best_epoch : int
        Epoch with the lowest validation reconstruction loss, whose weights are kept.
    val_recon : float
        That loss, averaged over the held-out spectra.
    """

    n_train: int = 0
    n_validation: int = 0
    n_epochs: int = 0
    best_epoch: int = 0
    val_recon: float = float("nan")


@dataclass(frozen=True)
class ModelRecord(JsonRecord):
    """What a model was made from, and on which spectra it can be used.

    Attributes
    ----------
    model_id : str
        Name of the model.
    seed : int
        Random seed of the training.
    parent_model_id : str
        Model whose weights the training started from; empty if it started from new weights.
    snapshot_id : str
        Snapshot of the store that the model was trained on.
    dataset_checksum : str
        Checksum of the spectra in that snapshot.
    store_config : StoreConfig
        Wavelength grid, normalization and archive of the spectra.
    input_sizes : mapping of str to int
        Number of values of each input of the network.
    vae : VAEConfig
        Architecture and objective.
    training : mapping of str to JSON value
        Settings of the training: `distspec.training.config.TrainingConfig`.
    created : str
        Time at which the training started (UTC, ISO 8601).
    versions : mapping of str to str
        Versions of the software by package.
    adaptations : tuple of str
        Settings that were changed to suit a small sample.
    device : str
        Device on which the model was trained.
    metrics : TrainingMetrics
        Result of the training.
    weights_sha256, history_sha256 : str
        SHA-256 of the model's other files.
    format_version : int
        Version of the files of a model.
    checksum : str
        SHA-256 of all other fields; empty before the record is written.
    """

    record_name: ClassVar[str] = "model.json"
    model_id: str
    seed: int
    parent_model_id: str
    snapshot_id: str
    dataset_checksum: str
    store_config: StoreConfig
    input_sizes: Mapping[str, int]
    vae: VAEConfig
    training: Mapping[str, Any]
    created: str
    versions: Mapping[str, str]
    adaptations: tuple[str, ...] = ()
    device: str = ""
    metrics: TrainingMetrics = field(default_factory=TrainingMetrics)
    weights_sha256: str = ""
    history_sha256: str = ""
    format_version: int = MODEL_FORMAT_VERSION
    checksum: str = ""


def has_model(url: str) -> bool:
    """Return whether a complete model lies in a folder; its record is written last.

    Parameters
    ----------
    url : str
        Folder of the model, ``ROOT/models/<id>``.

    Returns
    -------
    bool
    """
    return url_exists(join_url(url, RECORD_FILE))


def read_model_record(url: str) -> ModelRecord:
    """Read the record of a model.

    Parameters
    ----------
    url : str
        Folder of the model, ``ROOT/models/<id>``.

    Returns
    -------
    ModelRecord

    Raises
    ------
    NotFoundError
        If there is no complete model.
    ModelError
        If another version of distspec made the model.
    """
    if not has_model(url):
        raise NotFoundError(f"no model at {url}: name the folder that holds {RECORD_FILE}, ROOT/models/<id>")
    content: dict[str, Any] = read_json(join_url(url, RECORD_FILE))
    if (format_version := content.get("format_version")) != MODEL_FORMAT_VERSION:
        raise ModelError(
            f"{url} has format {format_version or 1}, this distspec reads {MODEL_FORMAT_VERSION}: "
            "train the model again under a new --root"
        )
    if unknown := sorted(content["vae"].keys() - {setting.name for setting in fields(VAEConfig)}):
        raise ModelError(
            f"{url}/{RECORD_FILE} has the settings vae.{', vae.'.join(unknown)}, which this distspec does "
            f"not know: it was made by distspec {content['versions']['distspec']}; upgrade distspec"
        )
    return ModelRecord.from_json(content)


def write_model_record(url: str, record: ModelRecord) -> None:
    """Write the record of a model with its checksum; call this after all other files are written.

    Parameters
    ----------
    url : str
        Folder of the model.
    record : ModelRecord
        Record of the model.
    """
    content = record.to_json()
    del content[CHECKSUM_KEY]
    write_json(join_url(url, RECORD_FILE), add_checksum(content))
