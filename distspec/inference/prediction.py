"""The result of a prediction. Importing this module does not import torch."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from distspec.core.errors import QuarantineRecord


@dataclass(frozen=True)
class Prediction:
    """Predictions for new spectra.

    Attributes
    ----------
    table : pyarrow.Table
        One row per usable spectrum, with the columns `distspec.core.schema.build_prediction_schema`; without
        columns if no file could be read.
    rejected : list of QuarantineRecord
        Spectra that cannot be used, with the reasons of the quarantine.
    """

    table: pa.Table
    rejected: list[QuarantineRecord]
