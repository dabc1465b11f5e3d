"""Settings of the report."""

from __future__ import annotations

from dataclasses import dataclass

from distspec.core.errors import ConfigError


@dataclass(frozen=True)
class ReportConfig:
    """Settings of the report."""

    table: str = ""
    """File or URL of a table (CSV, ECSV, FITS, Parquet, VOTable) whose columns color the map.

    Its rows are joined to the spectra by its column ``object_id``, or else ``source_id``.
    """
    columns: tuple[str, ...] = ()
    """Columns of that table to color the map by; empty: all others, at most 8."""

    def __post_init__(self) -> None:
        if self.columns and not self.table:
            raise ConfigError("report.columns are columns of an external table: give --report.table FILE")
