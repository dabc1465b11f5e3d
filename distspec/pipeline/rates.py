"""Measured rates: CPU seconds a unit of work, and bytes a spectrum, from which plans are made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RATES = Path(__file__).parent / "rates.json"
"""Those that come along, and say themselves where they were taken."""


@dataclass(frozen=True)
class Rates:
    """CPU seconds a unit of work, and bytes a spectrum: `tests/benchmarks/rates.py` takes them.

    Attributes
    ----------
    taken : mapping
        When, on what, with what, at which sizes.
    start : mapping
        Stage to seconds whatever the size: of the ``driver``, and of each ``worker``.
    unit : mapping
        Part to seconds a spectrum; of ``train`` an epoch.
    sweep : mapping
        ``fit``, ``silhouettes``, ``map``: what a unit takes at ``points`` points, at few, and how it grows.
    bytes : mapping
        Folder to bytes a spectrum and whatever the size; ``row`` of the catalogue in memory.
    gpu : mapping
        Seconds of a ``step`` of training, and of a ``spectrum`` in it.
    """

    taken: Mapping[str, Any]
    start: Mapping[str, Mapping[str, float]]
    unit: Mapping[str, float]
    sweep: Mapping[str, Any]
    bytes: Mapping[str, Any]
    gpu: Mapping[str, Any]

    @classmethod
    def read(cls, file: Path = RATES) -> Rates:
        """Read them.

        Raises
        ------
        ValueError
            When a file holds no rates.
        """
        try:
            return cls(**json.loads(file.read_text()))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{file} holds no rates: `python -m tests.benchmarks.rates` writes some"
            ) from error


def grown(rate: Mapping[str, float], n: float, points: float) -> float:
    """Return what a unit takes at `n` points, from what it took at few, at `points`, and how it grew."""
    more = max(rate["seconds"] - rate["floor"], 0.0)
    return rate["floor"] + more * (n / points) ** rate["grows"]
