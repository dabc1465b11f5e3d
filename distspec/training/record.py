"""Name, record and history of a training. Importing this module does not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from distspec.core.records import (
    JsonRecord,
    collect_versions,
    compute_fingerprint,
    decode_value,
    utc_now_iso,
)
from distspec.models.config import SPECTRUM_KEY, VAEConfig
from distspec.models.record import ModelRecord
from distspec.training.config import TrainingConfig

if TYPE_CHECKING:
    from distspec.store.store import Store


@dataclass(frozen=True)
class EpochMetrics(JsonRecord):
    """Losses of one epoch: one row of the training history.

    Attributes
    ----------
    epoch : int
        Number of the epoch, from 0.
    train : mapping of str to float
        Terms of the objective, averaged over the training spectra.
    validation : mapping of str to float
        Losses averaged over the held-out spectra.
    learning_rate : float
        Learning rate at the first step.
    seconds : float
        Time that the epoch took [s].
    """

    record_name: ClassVar[str] = "training history"
    epoch: int
    train: Mapping[str, float]
    validation: Mapping[str, float]
    learning_rate: float
    seconds: float

    def to_row(self) -> dict[str, float]:
        """Return the epoch as a row of ``history.parquet``.

        Returns
        -------
        dict of str to float
            Values by column name.

        Examples
        --------
        >>> EpochMetrics(0, {"total": 3.0}, {"recon": 2.0}, 1e-4, 1.5).to_row()
        {'epoch': 0.0, 'train_total': 3.0, 'val_recon': 2.0, 'lr': 0.0001, 'seconds': 1.5}
        """
        return {
            "epoch": float(self.epoch),
            **{f"train_{term}": value for term, value in self.train.items()},
            **{f"val_{term}": value for term, value in self.validation.items()},
            "lr": self.learning_rate,
            "seconds": self.seconds,
        }


def compute_model_id(
    dataset_checksum: str, vae: VAEConfig, training: TrainingConfig, seed: int, parent_model_id: str = ""
) -> str:
    """Return the name of the model that given settings train on a data set.

    Parameters
    ----------
    dataset_checksum : str
        Checksum of the spectra: `distspec.store.store.Store.dataset_checksum`.
    vae : VAEConfig
        Architecture and objective.
    training : TrainingConfig
        Settings of the training.
    seed : int
        Random seed.
    parent_model_id : str, optional
        Model whose weights the training starts from; empty to start from new weights.

    Returns
    -------
    str
        The id, ``m-`` and a fingerprint.
    """
    parent = [parent_model_id] if parent_model_id else []
    return "m-" + compute_fingerprint(
        dataset_checksum, asdict(vae), training.get_defining_settings(), seed, *parent
    )


def build_model_record(
    store: Store,
    model_id: str,
    vae: VAEConfig,
    training: TrainingConfig,
    seed: int,
    parent_model_id: str = "",
) -> ModelRecord:
    """Build the record of a model that is about to be trained.

    Parameters
    ----------
    store : Store
        Snapshot of the store to train on.
    model_id : str
        Name of the model.
    vae : VAEConfig
        Architecture and objective.
    training : TrainingConfig
        Settings of the training.
    seed : int
        Random seed.
    parent_model_id : str, optional
        Model whose weights the training starts from; empty to start from new weights.

    Returns
    -------
    ModelRecord
        Without the metrics and checksums, which are known only after the training.
    """
    return ModelRecord(
        model_id=model_id,
        seed=seed,
        parent_model_id=parent_model_id,
        snapshot_id=store.snapshot_id,
        dataset_checksum=store.dataset_checksum(),
        store_config=store.config,
        input_sizes={SPECTRUM_KEY: store.config.grid.n_pixels},
        vae=vae,
        training=asdict(training),
        created=utc_now_iso(),
        versions=collect_versions(),
    )


def get_training_config(record: ModelRecord) -> TrainingConfig:
    """Return the settings of the training that made a model.

    Parameters
    ----------
    record : ModelRecord
        Record of the model.

    Returns
    -------
    TrainingConfig
    """
    return decode_value(TrainingConfig, record.training)


def get_defining_settings(vae: VAEConfig, training: TrainingConfig, seed: int) -> dict[str, Any]:
    """Return the settings that determine a model, by the names of their flags.

    Parameters
    ----------
    vae : VAEConfig
        Architecture and objective: keys ``vae.<name>``.
    training : TrainingConfig
        Settings of the training: keys ``training.<name>``, without those that do not change the result.
    seed : int
        Seed of the weights, the noise and the shuffles.

    Examples
    --------
    >>> get_defining_settings(VAEConfig(), TrainingConfig(), 0)["training.batch_size"]
    64
    """
    return {
        **{f"vae.{name}": value for name, value in asdict(vae).items()},
        **{f"training.{name}": value for name, value in training.get_defining_settings().items()},
        "seed": seed,
    }


def get_model_settings(record: ModelRecord) -> dict[str, Any]:
    """Return the settings that determined a model, by the names of their flags.

    Parameters
    ----------
    record : ModelRecord
        Record of the model.

    Returns
    -------
    dict of str to object
        Values by setting name.
    """
    return get_defining_settings(record.vae, get_training_config(record), record.seed)
