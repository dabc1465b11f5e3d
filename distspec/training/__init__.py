"""Training of the variational autoencoder on one or several workers.

Read in this order: `config` (settings), `setup` (split and loaders), `data` (batches), `sampler` (their
order), `steps` (one optimizer step), `trainer` (the loop), `state` (position and early stopping),
`checkpoint` (interruptions), `record` (results). The package may import `distspec.models`, `store`, `io` and
`core`, and does not use Ray; names are imported on first use, so that importing the package does not import
torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distspec.training.checkpoint import CheckpointManager
    from distspec.training.config import TrainingConfig, learning_rate
    from distspec.training.distributed import ProcessGroup
    from distspec.training.record import (
        EpochMetrics,
        build_model_record,
        compute_model_id,
        get_training_config,
    )
    from distspec.training.setup import TrainValidationSplit, build_trainer, split_rows
    from distspec.training.state import EarlyStopping, TrainingState
    from distspec.training.steps import init_training_state
    from distspec.training.trainer import Trainer, fit

__all__ = [
    "CheckpointManager",
    "EarlyStopping",
    "EpochMetrics",
    "ProcessGroup",
    "TrainValidationSplit",
    "Trainer",
    "TrainingConfig",
    "TrainingState",
    "build_model_record",
    "build_trainer",
    "compute_model_id",
    "fit",
    "get_training_config",
    "init_training_state",
    "learning_rate",
    "split_rows",
]

_MODULES = {
    "CheckpointManager": "checkpoint",
    "EarlyStopping": "state",
    "EpochMetrics": "record",
    "ProcessGroup": "distributed",
    "TrainValidationSplit": "setup",
    "Trainer": "trainer",
    "TrainingConfig": "config",
    "TrainingState": "state",
    "build_model_record": "record",
    "build_trainer": "setup",
    "compute_model_id": "record",
    "fit": "trainer",
    "get_training_config": "record",
    "init_training_state": "steps",
    "learning_rate": "config",
    "split_rows": "setup",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
