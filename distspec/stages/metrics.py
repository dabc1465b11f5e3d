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
    metric_type : "counter" or "gauge"
        A counter only grows: how fast is what is drawn. A gauge is what was said last.
    unit : str
    description : str
    tags : tuple of str
        Beside the recipe, by which all are told apart.
    """

    name: str
    metric_type: Literal["counter", "gauge"]
    unit: str
    description: str
    tags: tuple[str, ...] = ()

    @property
    def prometheus_name(self) -> str:
        """Return the name by which Prometheus knows it.

        Examples
        --------
        >>> BYTES.exported, QUEUE.exported
        ('ray_distspec_read_bytes_total', 'ray_distspec_queue')
        """
        return f"ray_{self.name}{'_total' if self.metric_type == 'counter' else ''}"


RECIPE_TAG, STAGE_TAG = "recipe", "stage"
"""Tags."""
STAGE_RUNNING = Metric("distspec_running", "gauge", "", "1 while a stage runs", (STAGE_TAG,))
ITEMS_DONE = Metric(
    "distspec_done", "counter", "", "spectra, spans, maps, trials or epochs done", (STAGE_TAG, "unit")
)
ITEMS_QUEUED = Metric(
    "distspec_queue", "gauge", "", "of these, those that wait or are being done", (STAGE_TAG, "unit")
)
BYTES_READ = Metric("distspec_read_bytes", "counter", "byte", "read from the archive")
SPECTRA_QUARANTINED = Metric("distspec_quarantined", "counter", "", "spectra put in quarantine", ("reason",))
QUARANTINE_FRACTION = Metric(
    "distspec_quarantine_share", "gauge", "", "of all that the store has met, those in quarantine, 0 to 1"
)
EPOCH_LOSS = Metric("distspec_loss", "gauge", "", "a term of the loss, the mean of the last epoch", ("term",))
LEARNING_RATE = Metric("distspec_learning_rate", "gauge", "", "at the end of the last epoch")
METRICS = (
    STAGE_RUNNING,
    ITEMS_DONE,
    ITEMS_QUEUED,
    BYTES_READ,
    SPECTRA_QUARANTINED,
    QUARANTINE_FRACTION,
    EPOCH_LOSS,
    LEARNING_RATE,
)


class _JobTags:
    recipe = ""


def increment_counter(metric: Metric, amount: float, **tags: str) -> None:
    """Add to a counter."""
    if amount > 0:
        _ray_metric(metric).inc(amount, {RECIPE_TAG: _JobTags.recipe, **tags})


def set_gauge(metric: Metric, value: float, **tags: str) -> None:
    """Say what a gauge shows from now on."""
    _ray_metric(metric).set(value, {RECIPE_TAG: _JobTags.recipe, **tags})


@contextmanager
def track_running_stage(stage: str, recipe: str) -> Generator[None]:
    """Say while the block runs that a stage of a recipe does."""
    _JobTags.recipe = recipe
    set_gauge(STAGE_RUNNING, 1.0, stage=stage)
    try:
        yield
    finally:
        set_gauge(STAGE_RUNNING, 0.0, stage=stage)


@cache
def _ray_metric(metric: Metric) -> Any:
    kind = Counter if metric.metric_type == "counter" else Gauge
    said = f"{metric.description} [{metric.unit}]" if metric.unit else metric.description
    return kind(metric.name, said, (RECIPE_TAG, *metric.tags))
