"""What Prometheus is told: `distspec.stages.metrics` as Ray's, from the process that drives a job."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from ray.util.metrics import Counter, Gauge


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes
    ----------
    name : str
    kind : "counter" or "gauge"
        A counter only grows: how fast is what is drawn. A gauge is what was said last.
    unit : str
    meaning : str
    tags : tuple of str
        Beside the recipe, by which all are told apart.
    """

    name: str
    kind: Literal["counter", "gauge"]
    unit: str
    meaning: str
    tags: tuple[str, ...] = ()

    @property
    def exported(self) -> str:
        """Return the name by which Prometheus knows it.

        Examples
        --------
        >>> BYTES.exported, QUEUE.exported
        ('ray_distspec_read_bytes_total', 'ray_distspec_queue')
        """
        return f"ray_{self.name}{'_total' if self.kind == 'counter' else ''}"


RECIPE, STAGE = "recipe", "stage"
"""Tags."""
RUNNING = Metric("distspec_running", "gauge", "", "1 while a stage runs", (STAGE,))
DONE = Metric("distspec_done", "counter", "", "spectra, spans, maps, trials or epochs done", (STAGE, "unit"))
QUEUE = Metric("distspec_queue", "gauge", "", "of these, those that wait or are being done", (STAGE, "unit"))
BYTES = Metric("distspec_read_bytes", "counter", "byte", "read from the archive")
REJECTED = Metric("distspec_quarantined", "counter", "", "spectra put in quarantine", ("reason",))
SHARE = Metric(
    "distspec_quarantine_share", "gauge", "", "of all that the store has met, those in quarantine, 0 to 1"
)
LOSS = Metric("distspec_loss", "gauge", "", "a term of the loss, the mean of the last epoch", ("term",))
RATE = Metric("distspec_learning_rate", "gauge", "", "at the end of the last epoch")
METRICS = (RUNNING, DONE, QUEUE, BYTES, REJECTED, SHARE, LOSS, RATE)


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
