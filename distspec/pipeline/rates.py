"""Measured rates: CPU seconds a unit of work, and bytes a spectrum, from which plans are made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEFAULT_RATES_PATH = Path(__file__).parent / "rates.json"
"""Those that come along, and say themselves where they were taken."""


@dataclass(frozen=True)
class ResourceRates:
    """CPU seconds a unit of work, and bytes a spectrum: `tests/benchmarks/rates.py` takes them.

    Attributes
    ----------
    benchmark : mapping
        When, on what, with what, at which sizes.
    startup_seconds : mapping
        Stage to seconds whatever the size: of the ``driver``, and of each ``worker``.
    seconds_per_spectrum : mapping
        Part to seconds a spectrum; of ``train`` an epoch.
    sweep : mapping
        ``fit``, ``silhouettes``, ``map``: what a unit takes at ``points`` points, at few, and how it grows.
    storage : mapping
        Folder to bytes a spectrum and whatever the size; ``row`` of the catalogue in memory.
    gpu : mapping
        Seconds of a ``step`` of training, and of a ``spectrum`` in it.
    """

    benchmark: Mapping[str, Any]
    startup_seconds: Mapping[str, Mapping[str, float]]
    seconds_per_spectrum: Mapping[str, float]
    sweep: Mapping[str, Any]
    storage: Mapping[str, Any]
    gpu: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path = DEFAULT_RATES_PATH) -> ResourceRates:
        """Read them.

        Raises
        ------
        ValueError
            When a file holds no rates.
        """
        try:
            return cls(**json.loads(path.read_text()))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{path} holds no rates: `python -m tests.benchmarks.rates` writes some"
            ) from error


def extrapolate_seconds(rate: Mapping[str, float], n_points: float, n_reference: float) -> float:
    """Return what a unit takes at `n_points` points, from what it took at few, at `n_reference`, and how it grew."""
    more = max(rate["seconds"] - rate["floor"], 0.0)
    return rate["floor"] + more * (n_points / n_reference) ** rate["grows"]
