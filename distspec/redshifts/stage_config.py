"""Settings of the stage that measures redshifts. Importing this module does not import torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from distspec.core.errors import ConfigError
from distspec.redshifts.config import WRONG_FRACTION, RedshiftConfig


@dataclass(frozen=True)
class RedshiftStageConfig:
    """Which redshifts the stage redshifts measures, and how."""

    check: bool = False
    """Measure also the spectra whose redshifts the archive has, to find wrong ones."""
    min_probability: float = 0.9
    """Use a spectrum at the redshift of the model if that is right, within 0.01 (1 + z), with at least this
    probability."""
    wrong_fraction: float = WRONG_FRACTION
    """Fraction of the archive's redshifts that is wrong, before the spectra are looked at."""
    task_spectra: int = 1024
    """Number of spectra that an actor reads and measures at a time."""
    estimator: RedshiftConfig = field(default_factory=RedshiftConfig)
    """Settings of the estimator."""

    def __post_init__(self) -> None:
        for name in ("min_probability", "wrong_fraction"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"redshifts.{name} {getattr(self, name)}: give a number from 0 to 1")
        if self.task_spectra < 1:
            raise ConfigError(f"redshifts.task_spectra {self.task_spectra} must be positive")
