"""Trainings by Ray Train: several workers, and workers on nodes that may be lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow.fs
import ray.train
import torch
from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchConfig, TorchTrainer, get_device

from distspec.io.paths import join_url
from distspec.io.storage import split_url, url_to_fs
from distspec.stages.training_task import TrainingFailure, TrainingTask, WorkerPlan
from distspec.training.distributed import ProcessGroup


class _Trainer(TorchTrainer):
    """Trainer whose signals and actors are those of the job."""

    def _register_sigint_handler(self, controller: Any) -> None:
        """Leave the handler of SIGINT as it is; Ray Train's own ends the process with status 0."""

    def _create_default_callbacks(self) -> list[Any]:
        """Return Ray Train's callbacks without the one that creates a detached actor.

        That actor removes placement groups of a dead controller, and stays if the job is killed as it is
        created. It is not needed: Ray removes the placement groups of a job that has ended.
        """
        callbacks: list[Any] = super()._create_default_callbacks()
        return [
            callback for callback in callbacks if type(callback).__name__ != "PlacementGroupCleanerCallback"
        ]


def run_with_ray_train(
    worker: Callable[[dict[str, Any]], str], task: TrainingTask, workers: WorkerPlan
) -> str:
    """Train with the workers of Ray Train, which replaces those that fail.

    Parameters
    ----------
    worker : callable
        Function of a worker, `distspec.stages.train_workers.train_worker`.
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
    config = task.training
    trainer = _Trainer(
        worker,
        train_loop_config={"task": task},
        scaling_config=ScalingConfig(
            num_workers=(workers.fewest, workers.most) if workers.is_elastic else workers.most,
            use_gpu=workers.use_gpu,
            resources_per_worker=dict(workers.resources),
        ),
        torch_config=TorchConfig(backend="nccl" if workers.use_gpu else "gloo"),
        run_config=RunConfig(
            name=task.record.model_id,
            failure_config=FailureConfig(
                max_failures=config.max_failures, max_preemption_failures=config.max_preemptions
            ),
            logging_config=LoggingConfig(log_level="ERROR"),
            **_ray_storage(task.root),
        ),
    )
    try:
        return str(trainer.fit().return_value or "")
    except TrainingFailedError as error:
        raise TrainingFailure(str(error)) from error


def _ray_storage(root: str) -> dict[str, Any]:
    """Return where Ray Train keeps its own files; buckets are opened with our storage settings."""
    url = join_url(root, "models")
    scheme, _, path = split_url(url)
    if scheme == "file":
        return {"storage_path": path}
    bucket, path = url_to_fs(url)
    return {
        "storage_path": path,
        "storage_filesystem": pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(bucket)),
    }


def join_workers() -> ProcessGroup:
    """Return, within a worker of Ray Train, the process group of all of them; make its device torch's own."""
    device: Any = get_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    context = ray.train.get_context()
    return ProcessGroup(context.get_world_rank(), context.get_world_size(), device)


def is_preempted() -> bool:
    """Return whether Ray Train knows that a node is about to be reclaimed."""
    return ray.train.get_preemption_info() is not None
