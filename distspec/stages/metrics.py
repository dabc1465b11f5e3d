"""Metrics for Prometheus, exported through Ray by the driver of a job."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from ray.util.metrics import Counter, Gauge


@dataclass(frozen=True)
class Metric:
    """Definition of a metric.

    Attributes
    ----------
    name : str
        Name of the metric.
    metric_type : {"counter", "gauge"}
        A counter only grows, a gauge holds the last value.
    unit : str
        Unit; empty for a number.
    description : str
        What the metric is.
    tags : tuple of str
        Tags in addition to the recipe.
    """

    name: str
    metric_type: Literal["counter", "gauge"]
    unit: str
    description: str
    tags: tuple[str, ...] = ()

    @property
    def prometheus_name(self) -> str:
        """Name of the metric in Prometheus.

        Examples
        --------
        >>> BYTES_READ.prometheus_name, ITEMS_QUEUED.prometheus_name
        ('ray_distspec_read_bytes_total', 'ray_distspec_queue')
        """
        return f"ray_{self.name}{'_total' if self.metric_type == 'counter' else ''}"


RECIPE_TAG, STAGE_TAG = "recipe", "stage"
STAGE_RUNNING = Metric("distspec_running", "gauge", "", "1 while a stage runs", (STAGE_TAG,))
ITEMS_DONE = Metric(
    "distspec_done",
    "counter",
    "",
    "spectra, spans, maps, trials or epochs that are done",
    (STAGE_TAG, "unit"),
)
ITEMS_QUEUED = Metric(
    "distspec_queue", "gauge", "", "items that are waiting or being processed", (STAGE_TAG, "unit")
)
BYTES_READ = Metric("distspec_read_bytes", "counter", "byte", "bytes read from the archive")
SPECTRA_QUARANTINED = Metric(
    "distspec_quarantined", "counter", "", "spectra added to the quarantine", ("reason",)
)
QUARANTINE_FRACTION = Metric(
    "distspec_quarantine_share", "gauge", "", "fraction of all spectra that is in quarantine, 0 to 1"
)
EPOCH_LOSS = Metric("distspec_loss", "gauge", "", "term of the loss, its mean over the last epoch", ("term",))
LEARNING_RATE = Metric("distspec_learning_rate", "gauge", "", "learning rate at the end of the last epoch")
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
"""All metrics."""


class _JobTags:
    """Tags that all metrics of this process have."""

    recipe = ""


def increment_counter(metric: Metric, amount: float, **tags: str) -> None:
    """Add to a counter.

    Parameters
    ----------
    metric : Metric
        A counter.
    amount : float
        What to add; nothing happens for 0.
    **tags
        Values of the metric's tags.
    """
    if amount > 0:
        _ray_metric(metric).inc(amount, {RECIPE_TAG: _JobTags.recipe, **tags})


def set_gauge(metric: Metric, value: float, **tags: str) -> None:
    """Set a gauge.

    Parameters
    ----------
    metric : Metric
        A gauge.
    value : float
        Its new value.
    **tags
        Values of the metric's tags.
    """
    _ray_metric(metric).set(value, {RECIPE_TAG: _JobTags.recipe, **tags})


@contextmanager
def track_running_stage(stage: str, recipe: str) -> Generator[None]:
    """Report a stage as running while the block lasts, and tag all metrics with the recipe.

    Parameters
    ----------
    stage : str
        Name of the stage.
    recipe : str
        Name of the recipe.
    """
    _JobTags.recipe = recipe
    set_gauge(STAGE_RUNNING, 1.0, stage=stage)
    try:
        yield
    finally:
        set_gauge(STAGE_RUNNING, 0.0, stage=stage)


@cache
def _ray_metric(metric: Metric) -> Any:
    metric_class = Counter if metric.metric_type == "counter" else Gauge
    description = f"{metric.description} [{metric.unit}]" if metric.unit else metric.description
    return metric_class(metric.name, description, (RECIPE_TAG, *metric.tags))
