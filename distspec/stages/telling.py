"""What Prometheus is told: `distspec.metrics` as Ray's, from the process that drives a job."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from typing import Any

from ray.util.metrics import Counter, Gauge

from distspec.metrics import RECIPE, RUNNING, Metric


class _Job:
    recipe = ""


def count(metric: Metric, n: float, **tags: str) -> None:
    """Add to a counter."""
    if n > 0:
        _rays(metric).inc(n, {RECIPE: _Job.recipe, **tags})


def gauge(metric: Metric, value: float, **tags: str) -> None:
    """Say what a gauge shows from now on."""
    _rays(metric).set(value, {RECIPE: _Job.recipe, **tags})


@contextmanager
def running(stage: str, recipe: str) -> Generator[None]:
    """Say while the block runs that a stage of a recipe does."""
    _Job.recipe = recipe
    gauge(RUNNING, 1.0, stage=stage)
    try:
        yield
    finally:
        gauge(RUNNING, 0.0, stage=stage)


@cache
def _rays(metric: Metric) -> Any:
    kind = Counter if metric.kind == "counter" else Gauge
    said = f"{metric.meaning} [{metric.unit}]" if metric.unit else metric.meaning
    return kind(metric.name, said, (RECIPE, *metric.tags))
