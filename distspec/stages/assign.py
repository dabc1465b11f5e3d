"""What a sweep found, said of every spectrum, on Ray: spans of rows by tasks that hold only their span."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import ray
import torch

from distspec.clustering.feature_space import ClusteringInputs
from distspec.clustering.labeler import EnsembleLabeler
from distspec.clustering.umap import UmapEmbedding
from distspec.core import memory as memory_module
from distspec.core.spectrum import Floats32
from distspec.measurements.definitions import MeasurementSet
from distspec.measurements.features import measure_reconstructions
from distspec.models.model import load_model
from distspec.stages.pool import map_ordered
from distspec.stages.progress import Progress
from distspec.stages.session import default_max_in_flight, require_worker_slots

ROWS_PER_TASK = 16_384
"""Rows of a task: a multiple of a model's passes."""


@ray.remote(num_cpus=1, max_retries=3)
def _assign(labeler: EnsembleLabeler, model_inputs: Sequence[ClusteringInputs]) -> dict[str, Any]:
    return labeler.assign(model_inputs)


@ray.remote(num_cpus=1, max_retries=3)
def _project(umap: UmapEmbedding, points: Floats32) -> Floats32:
    return umap.transform(points.astype(np.float64)).astype(np.float32)


@ray.remote(num_cpus=1, max_retries=3)
def _measure(
    model_url: str, measurements: MeasurementSet, z_mean: Floats32, z_log_var: Floats32
) -> dict[str, Floats32]:
    torch.set_num_threads(1)
    model = load_model(model_url)
    return measure_reconstructions(measurements, model.decode, model.grid, z_mean, z_log_var)


def assign_classes(labeler: EnsembleLabeler, model_inputs: Sequence[ClusteringInputs]) -> dict[str, Any]:
    """Return `distspec.clustering.labeler.build_assignment` of every spectrum, as each model sees them."""
    consensus, dims = labeler.consensus, model_inputs[0].latents.shape[1] + model_inputs[0].features.shape[1]
    k = max(map(len, consensus.class_given_cluster))
    memory = memory_module.estimate_labeling_memory(
        ROWS_PER_TASK, len(labeler.members), k, len(consensus.labels), dims
    )
    require_worker_slots(
        "a task that labels", {"CPU": 1.0, "memory": memory}, "lower --clustering.n-seeds or sample"
    )
    shared, task = ray.put(labeler), _assign.options(memory=memory)
    return map_row_blocks(
        "assign", len(model_inputs[0]), lambda rows: task.remote(shared, [s.take(rows) for s in model_inputs])
    )


def project_onto_umap(umap: UmapEmbedding, points: Floats32) -> Floats32:
    """Return where spectra lie on a map, (N, dims)."""
    memory = memory_module.estimate_labeling_memory(
        ROWS_PER_TASK, 0, 0, len(umap.neighbor_graph.x), points.shape[1]
    )
    require_worker_slots(
        "a task that places on a map", {"CPU": 1.0, "memory": memory}, "lower --clustering.sample-size"
    )
    shared, task = ray.put(umap), _project.options(memory=memory)
    return map_row_blocks("place", len(points), lambda rows: task.remote(shared, points[rows]))


def measure_all_reconstructions(
    model_url: str, measurements: MeasurementSet, n_pixels: int, z_mean: Floats32, z_log_var: Floats32
) -> dict[str, Floats32]:
    """Return `distspec.measurements.features.measure_reconstructions` of every spectrum that a model has embedded."""
    memory = memory_module.estimate_measurement_memory(n_pixels)
    require_worker_slots("a task that measures", {"CPU": 1.0, "memory": memory}, "use a grid of fewer pixels")
    task = _measure.options(memory=memory)
    return map_row_blocks(
        "measure",
        len(z_mean),
        lambda rows: task.remote(model_url, measurements, z_mean[rows], z_log_var[rows]),
    )


def map_row_blocks(task_name: str, n_rows: int, submit: Any, block_rows: int = ROWS_PER_TASK) -> Any:
    """Return what tasks make of spans of `n_rows` rows, `block_rows` each, end to end."""
    spans = [slice(start, min(start + block_rows, n_rows)) for start in range(0, n_rows, block_rows)]
    parts = list(
        Progress(task_name, len(spans), "span").track(map_ordered(submit, spans, default_max_in_flight))
    )
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
