"""NEEDS A DOCSTRING."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

EXECUTION_SETTINGS = frozenset(
    {
        "threads",
        "use_gpu",
        "prefetch_windows",
        "min_workers",
        "checkpoint_interval_minutes",
        "checkpoint_interval_steps",
    }
    | {"max_failures", "max_preemptions", "tensorboard"}
)
"""Settings that change how fast and how safely a model is made, not which."""


@dataclass(frozen=True)
class TrainingConfig:
    """How the VAE is trained."""

    batch_size: int = 64
    """Spectra in a global batch: shared out over the workers."""
    learning_rate: float = 1e-4
    """Adam's first learning rate."""
    lr_decay: float = 0.95
    """The learning rate is multiplied by this …"""
    lr_decay_steps: int = 500
    """… every so many steps."""
    max_grad_norm: float = 2.0
    """Gradients are clipped to this norm."""
    patience: int = 50
    """Stop when the validation reconstruction has not improved for so many epochs."""
    max_epochs: int = 1000
    """Stop here at the latest."""
    validation_fraction: float = 0.15
    """Share of sources held out."""
    workers: int = 1
    """Ray Train workers."""
    min_workers: int = 0
    """Go on with as few as these when workers are lost, and with more again when there is room; 0: with
    exactly training.workers."""
    threads: int = 1
    """Torch threads a worker: more than cores / workers stalls training tenfold."""
    use_gpu: bool | None = None
    """One GPU a worker: yes, no, or (unset) when the cluster has as many."""
    bf16: bool = True
    """On a GPU, compute products in bfloat16."""
    cache_mb: float = 2048.0
    """Spectra up to this size [MB] are held by each worker; more are streamed from the store."""
    shuffle_window_chunks: int = 64
    """Chunks of the store (1.3 MB of flux each) that a worker shuffles together when it streams."""
    prefetch_windows: int = 1
    """Windows read ahead."""
    checkpoint_interval_minutes: float = 5.0
    """Training that is cut short loses so much at most [min]."""
    checkpoint_interval_steps: int = 0
    """Keep a checkpoint every so many steps, too; 0: by the clock alone."""
    max_failures: int = 3
    """Go on after so many failures of workers; -1: always."""
    max_preemptions: int = -1
    """Go on after so many machines were taken away, which are counted apart; -1: always."""
    tensorboard: bool = False
    """Write learning curves for TensorBoard, too: needs distspec[tensorboard]."""

    def __post_init__(self) -> None:
        if self.workers < 1 or not 0 <= self.min_workers <= self.workers:
            raise ValueError(
                f"training.workers {self.workers} must be positive, and training.min_workers "
                f"{self.min_workers} at most as many"
            )
        if self.batch_size < 2 * self.workers:
            raise ValueError(
                f"training.batch_size {self.batch_size}: batch norm needs 2 spectra a worker, and "
                f"training.workers is {self.workers}"
            )
        if not 0 < self.validation_fraction < 1:
            raise ValueError(f"training.validation_fraction {self.validation_fraction} must lie in (0, 1)")
        if not (self.learning_rate > 0 and 0 < self.lr_decay <= 1 and self.max_grad_norm > 0):
            raise ValueError(
                f"training.learning_rate {self.learning_rate} and training.max_grad_norm {self.max_grad_norm} "
                f"must be positive, training.lr_decay {self.lr_decay} in (0, 1]"
            )
        if (
            min(self.patience, self.max_epochs, self.lr_decay_steps, self.threads, self.shuffle_window_chunks)
            < 1
        ):
            raise ValueError("training.patience, max_epochs, decay_steps, threads, window must be positive")
        if (
            min(
                self.prefetch_windows,
                self.checkpoint_interval_steps,
                self.max_failures + 1,
                self.max_preemptions + 1,
            )
            < 0
        ):
            raise ValueError(
                "training.prefetch_windows and checkpoint_steps cannot be negative, "
                "max_failures and max_preemptions at least -1"
            )
        if not (self.cache_mb >= 0 and self.checkpoint_interval_minutes > 0):
            raise ValueError(
                f"training.cache_mb {self.cache_mb} cannot be negative, "
                f"training.checkpoint_interval_minutes {self.checkpoint_interval_minutes} must be positive"
            )

    def get_defining_settings(self) -> dict[str, Any]:
        """Return the settings that decide which model comes out."""
        return {name: value for name, value in asdict(self).items() if name not in EXECUTION_SETTINGS}


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Return the learning rate of a step: × `decay` every `decay_steps`."""
    return config.learning_rate * config.lr_decay ** (step // config.lr_decay_steps)
