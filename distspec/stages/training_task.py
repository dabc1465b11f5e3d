"""What the workers of a training are given, and how many there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from distspec.io.paths import join_url, model_url
from distspec.models.record import ModelRecord
from distspec.training.config import TrainingConfig


class TrainingFailure(Exception):
    """Workers failed more often than ``training.max_failures``; the message ends with the last failure."""


@dataclass(frozen=True)
class TrainingTask:
    """What a worker is given.

    Attributes
    ----------
    root : str
        Root of the store and of the model.
    training : TrainingConfig
        Settings of the training.
    record : ModelRecord
        Record of the model, without its result.
    progress_actor : Any
        Handle of the actor that shows the progress.
    uses_ray_train : bool
        Whether the worker is one of Ray Train's, or else the only one.
    """

    root: str
    training: TrainingConfig
    record: ModelRecord
    progress_actor: Any
    uses_ray_train: bool = True

    @property
    def url(self) -> str:
        """Folder of the model."""
        return model_url(self.root, self.record.model_id)

    @property
    def checkpoints_url(self) -> str:
        """Folder of the checkpoints."""
        return get_checkpoints_url(self.url)


@dataclass(frozen=True)
class WorkerPlan:
    """Number of workers and resources of each.

    Attributes
    ----------
    fewest, most : int
        Numbers of workers between which a training may change; equal if it must not.
    use_gpu : bool
        Whether each worker has a GPU.
    resources : mapping of str to float
        What each worker needs of "CPU", "GPU" and "memory" [bytes].
    """

    fewest: int
    most: int
    use_gpu: bool
    resources: Mapping[str, float]

    @property
    def is_elastic(self) -> bool:
        """Whether the number of workers may change."""
        return self.fewest < self.most


def get_checkpoints_url(url: str) -> str:
    """Return the folder of a model's checkpoints.

    Parameters
    ----------
    url : str
        Folder of the model.
    """
    return join_url(url, "checkpoints")
