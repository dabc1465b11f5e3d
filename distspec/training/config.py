"""Settings of the training. Importing this module does not import torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from distspec.core.errors import ConfigError

EXECUTION_SETTINGS = frozenset(
    {
        "threads",
        "use_gpu",
        "prefetch_windows",
        "min_workers",
        "checkpoint_interval_minutes",
        "checkpoint_interval_steps",
        "max_failures",
        "max_preemptions",
        "tensorboard",
    }
)
"""Settings that change how fast and how safely a model is trained, but not the model."""


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of the training of the VAE."""

    batch_size: int = 64
    """Number of spectra in a global batch, which is divided among the workers."""
    learning_rate: float = 1e-4
    """Initial learning rate of the Adam optimizer."""
    lr_decay: float = 0.95
    """Factor by which the learning rate is multiplied every training.lr_decay_steps steps."""
    lr_decay_steps: int = 500
    """Number of steps between two decays of the learning rate."""
    max_grad_norm: float = 2.0
    """Norm to which gradients are clipped."""
    clip_each_gradient: bool = False
    """Clip the gradient of each weight array by itself, as Keras' clipnorm does, instead of all together."""
    patience: int = 50
    """Stop when the validation reconstruction loss has not improved for this many epochs."""
    max_epochs: int = 1000
    """Stop after this many epochs at the latest."""
    validation_fraction: float = 0.15
    """Fraction of the sources held out for validation."""
    workers: int = 1
    """Number of Ray Train workers."""
    min_workers: int = 0
    """Continue with as few workers as this when some are lost; 0 to need exactly training.workers."""
    threads: int = 1
    """Torch threads per worker; more than cores / workers can slow training down tenfold."""
    use_gpu: bool | None = None
    """Use one GPU per worker; unset to do so if the cluster has enough."""
    bf16: bool = True
    """On a GPU, multiply matrices in bfloat16."""
    cache_mb: float = 2048.0
    """Largest size of the spectra that a worker holds in memory; larger samples are streamed [MB]."""
    shuffle_window_chunks: int = 64
    """Number of chunks of the store (1.3 MB of flux each) that a worker shuffles together when it streams."""
    prefetch_windows: int = 1
    """Number of shuffle windows to read ahead."""
    checkpoint_interval_minutes: float = 5.0
    """Time between checkpoints; an interruption loses at most this much training [min]."""
    checkpoint_interval_steps: int = 0
    """Save a checkpoint every this many steps as well; 0 to save by time alone."""
    max_failures: int = 3
    """Number of worker failures after which training stops; -1 for no limit."""
    max_preemptions: int = -1
    """Number of preempted nodes, counted apart from failures, after which training stops; -1 for no limit."""
    tensorboard: bool = False
    """Write the training history for TensorBoard as well; needs ``pip install 'distspec[tensorboard]'``."""

    def __post_init__(self) -> None:
        self._check_workers()
        if not 0 < self.validation_fraction < 1:
            raise ConfigError(f"training.validation_fraction {self.validation_fraction} must lie in (0, 1)")
        if not (self.learning_rate > 0 and 0 < self.lr_decay <= 1 and self.max_grad_norm > 0):
            raise ConfigError(
                f"training.learning_rate {self.learning_rate} and training.max_grad_norm "
                f"{self.max_grad_norm} must be positive, training.lr_decay {self.lr_decay} must lie in (0, 1]"
            )
        for name in ("patience", "max_epochs", "lr_decay_steps", "threads", "shuffle_window_chunks"):
            if getattr(self, name) < 1:
                raise ConfigError(f"training.{name} {getattr(self, name)} must be positive")
        for name in ("prefetch_windows", "checkpoint_interval_steps"):
            if getattr(self, name) < 0:
                raise ConfigError(f"training.{name} {getattr(self, name)} must not be negative")
        for name in ("max_failures", "max_preemptions"):
            if getattr(self, name) < -1:
                raise ConfigError(f"training.{name} {getattr(self, name)} must be at least -1")
        if not (self.cache_mb >= 0 and self.checkpoint_interval_minutes > 0):
            raise ConfigError(
                f"training.cache_mb {self.cache_mb} must not be negative, "
                f"training.checkpoint_interval_minutes {self.checkpoint_interval_minutes} must be positive"
            )

    def _check_workers(self) -> None:
        """Raise an error if the numbers of workers and the batch size do not fit together."""
        if self.workers < 1 or not 0 <= self.min_workers <= self.workers:
            raise ConfigError(
                f"training.workers {self.workers} must be positive, and training.min_workers "
                f"{self.min_workers} must lie between 0 and training.workers"
            )
        if self.batch_size < 2 * self.workers:
            raise ConfigError(
                f"training.batch_size {self.batch_size}: batch norm needs 2 spectra per worker, and "
                f"training.workers is {self.workers}"
            )

    def get_defining_settings(self) -> dict[str, Any]:
        """Return the settings that determine the trained model, by name: all but `EXECUTION_SETTINGS`.

        Returns
        -------
        dict of str to object
            Values by setting name.
        """
        return {name: value for name, value in asdict(self).items() if name not in EXECUTION_SETTINGS}


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Return the learning rate at a step: a staircase that decays every ``lr_decay_steps`` steps.

    Parameters
    ----------
    config : TrainingConfig
        Initial rate, decay and interval of the decay.
    step : int
        Number of the optimizer step, from 0.

    Returns
    -------
    float
        Learning rate at the step.

    Examples
    --------
    >>> [learning_rate(TrainingConfig(learning_rate=1.0), step) for step in (0, 499, 500)]
    [1.0, 1.0, 0.95]
    """
    return config.learning_rate * config.lr_decay ** (step // config.lr_decay_steps)
