"""What the workers of a training do, and how they are started: in one task of Ray, or by Ray Train.

One worker on a local Ray, whose node is never lost, trains in a task, which Ray repeats if it fails. For
several workers and on clusters, Ray Train starts them, with processes for a controller, for synchronization
and for the autoscaler. Weights and checkpoints are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import ray
import torch
from ray.exceptions import RayError

from distspec.core.errors import TrainingDivergedError
from distspec.io.paths import model_url, store_url
from distspec.models.record import TrainingMetrics
from distspec.models.serialization import load_vae, save_model
from distspec.models.vae import SpectrumVAE
from distspec.stages.session import can_autoscale
from distspec.stages.training_task import TrainingFailure, TrainingTask, WorkerPlan
from distspec.store.store import Store, open_store
from distspec.training.distributed import ProcessGroup
from distspec.training.record import EpochMetrics
from distspec.training.setup import build_trainer, read_repeat_rows, split_rows
from distspec.training.steps import init_training_state
from distspec.training.tensorboard import TensorBoardWriter
from distspec.training.trainer import Trainer, fit


def run_workers(task: TrainingTask, workers: WorkerPlan) -> str:
    """Train with the planned workers.

    Parameters
    ----------
    task : TrainingTask
        What the workers are given.
    workers : WorkerPlan
        Number of workers and resources of each.

    Returns
    -------
    str
        Why the training cannot succeed; empty if it has succeeded.

    Raises
    ------
    TrainingFailure
        If workers failed more often than ``training.max_failures``.
    """
    if workers.most > 1 or can_autoscale():
        from distspec.stages.ray_train import run_with_ray_train  # Ray Train takes seconds to import

        return run_with_ray_train(train_worker, task, workers)
    resources = workers.resources
    remote: Any = _train_in_task.options(
        num_cpus=resources["CPU"],
        num_gpus=resources.get("GPU", 0.0),
        memory=resources["memory"],
        max_retries=task.training.max_failures,
        retry_exceptions=True,
    )
    try:
        return ray.get(remote.remote(train_worker, replace(task, uses_ray_train=False)))
    except RayError as error:
        raise TrainingFailure(str(error)) from error


@ray.remote(num_cpus=1)
def _train_in_task(worker: Callable[[dict[str, Any]], str], task: TrainingTask) -> str:
    """Run the only worker of a training."""
    return worker({"task": task})


def train_worker(config: dict[str, Any]) -> str:
    """Train as one of the workers; worker 0 writes the model.

    Errors that may not occur again, such as the loss of a worker, are raised, so that Ray retries.

    Parameters
    ----------
    config : dict
        A `TrainingTask` named "task".

    Returns
    -------
    str
        Why the training cannot succeed, such as a gradient that is not finite; empty if it has succeeded.
    """
    task: TrainingTask = config["task"]
    training, record = task.training, task.record
    process_group, is_preempted = _join_workers(task)
    torch.set_num_threads(training.threads)
    store = open_store(store_url(task.root), snapshot=record.snapshot_id)
    split = split_rows(store, training)
    torch.manual_seed(record.seed)
    vae = SpectrumVAE(record.input_sizes, record.vae, store.config.grid.wave_rest).to(process_group.device)
    state = init_training_state(vae, training)
    is_first = process_group.rank == 0
    writer = TensorBoardWriter(task.url) if training.tensorboard and is_first else None

    def on_epoch_end(metrics: EpochMetrics) -> None:
        if is_first:
            task.progress_actor.update.remote(len(state.history), metrics)
        if writer:
            writer.write_history(state.history)

    parent = record.parent_model_id
    trainer = build_trainer(
        store,
        split,
        training,
        record.seed,
        process_group,
        task.checkpoints_url,
        is_preempted,
        on_epoch_end,
        load_vae(model_url(task.root, parent))[0].state_dict() if parent else None,
    )
    try:
        best = fit(state, trainer)
    except TrainingDivergedError as error:
        return str(error)
    if writer:
        writer.close()
    if is_first:
        vae.load_state_dict(best.best_state_dict)
        _calibrate_posteriors(vae, store, trainer)
        metrics = TrainingMetrics(
            len(split.train), len(split.validation), len(state.history), best.best_epoch, best.best_loss
        )
        record = replace(
            record, adaptations=split.adaptations, device=str(process_group.device), metrics=metrics
        )
        history = pa.Table.from_pylist([metrics.to_row() for metrics in state.history])
        save_model(task.url, vae.state_dict(), history, record)
    return ""


def _join_workers(task: TrainingTask) -> tuple[ProcessGroup, Callable[[], bool]]:
    """Return the workers that train together, and the function that tells whether a node will be lost."""
    if task.uses_ray_train:
        from distspec.stages.ray_train import is_preempted, join_workers

        return join_workers(), is_preempted
    # Ray shows a process only the GPU that it may use.
    device = torch.device("cuda", 0) if ray.get_gpu_ids() else torch.device("cpu")
    return ProcessGroup(device=device), lambda: False


def _calibrate_posteriors(vae: SpectrumVAE, store: Store, trainer: Trainer) -> None:
    """Calibrate the posteriors with the repeats in the store."""
    rows = read_repeat_rows(store)
    vae.calibrate_posteriors(trainer.read_rows(rows[:, 0]), trainer.read_rows(rows[:, 1]))
