"""Settings of the published catalog."""

from __future__ import annotations

from dataclasses import dataclass

from distspec.core.errors import ConfigError


@dataclass(frozen=True)
class CatalogConfig:
    """Settings of the published catalog."""

    n_anomalies: int = 200
    """Number of rows of the table ``anomalies``, and largest number of rows of ``bad_pixels``."""
    alpha: float = 0.1
    """Conformal miscoverage level: prediction sets miss the true label with at most this probability."""

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise ConfigError(f"catalog.alpha is {self.alpha}: it must lie between 0 and 1")
        if self.n_anomalies < 1:
            raise ConfigError(f"catalog.n_anomalies is {self.n_anomalies}: it must be at least 1")
