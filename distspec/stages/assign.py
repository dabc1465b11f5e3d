"""What a sweep found, said of every spectrum, on Ray: spans of rows by tasks that hold only their span."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import ray
import torch

from distspec.clustering.feature_space import Sample
from distspec.clustering.labeler import Fitted
from distspec.clustering.umap import Map
from distspec.core import memory as memory_module
from distspec.core.spectrum import Floats32
from distspec.measurements.features import measure_reconstructions
from distspec.models.model import load_model
from distspec.stages.pool import in_order
from distspec.stages.progress import Progress
from distspec.stages.session import places, two_a_cpu

SPAN = 16_384
"""Rows of a task: a multiple of a model's passes."""


@ray.remote(num_cpus=1, max_retries=3)
def _assign(fitted: Fitted, samples: Sequence[Sample]) -> dict[str, Any]:
    return fitted.describe(samples)


@ray.remote(num_cpus=1, max_retries=3)
def _place(place: Map, base: Floats32) -> Floats32:
    return place.transform(base.astype(np.float64)).astype(np.float32)


@ray.remote(num_cpus=1, max_retries=3)
def _measure(url: str, kind: str, z_mean: Floats32, z_log_var: Floats32) -> dict[str, Floats32]:
    torch.set_num_threads(1)
    model = load_model(url)
    return measure_reconstructions(kind, model.decode, model.grid, z_mean, z_log_var)


def assign(fitted: Fitted, samples: Sequence[Sample]) -> dict[str, Any]:
    """Return `distspec.clustering.labeler.described` of every spectrum, as each model sees them."""
    consensus, dims = fitted.consensus, samples[0].latents.shape[1] + samples[0].features.shape[1]
    k = max(map(len, consensus.meaning))
    memory = memory_module.labelling(SPAN, len(fitted.repeats), k, len(consensus.labels), dims)
    places("a task that labels", {"CPU": 1.0, "memory": memory}, "lower --clustering.seeds or sample")
    shared, task = ray.put(fitted), _assign.options(memory=memory)
    return in_spans(
        "assign", len(samples[0]), lambda rows: task.remote(shared, [s.take(rows) for s in samples])
    )


def place(fitted: Map, base: Floats32) -> Floats32:
    """Return where spectra lie on a map, (N, dims)."""
    memory = memory_module.labelling(SPAN, 0, 0, len(fitted.near.x), base.shape[1])
    places("a task that places on a map", {"CPU": 1.0, "memory": memory}, "lower --clustering.sample")
    shared, task = ray.put(fitted), _place.options(memory=memory)
    return in_spans("place", len(base), lambda rows: task.remote(shared, base[rows]))


def measure(url: str, kind: str, n_pixels: int, z_mean: Floats32, z_log_var: Floats32) -> dict[str, Floats32]:
    """Return `distspec.measurements.features.measure_reconstructions` of every spectrum that a model has embedded."""
    memory = memory_module.measuring(n_pixels)
    places("a task that measures", {"CPU": 1.0, "memory": memory}, "use a grid of fewer pixels")
    task = _measure.options(memory=memory)
    return in_spans(
        "measure", len(z_mean), lambda rows: task.remote(url, kind, z_mean[rows], z_log_var[rows])
    )


def in_spans(what: str, n: int, submit: Any, size: int = SPAN) -> Any:
    """Return what tasks make of spans of `n` rows, `size` each, end to end."""
    spans = [slice(start, min(start + size, n)) for start in range(0, n, size)]
    parts = list(Progress(what, len(spans), "span").over(in_order(submit, spans, two_a_cpu)))
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
