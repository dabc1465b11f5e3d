"""The train stage: train the VAE on the store with Ray Train, and resume after failures."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.fs
import ray.train
import torch
from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchConfig, TorchTrainer, get_device

from distspec.core import memory
from distspec.core.errors import ConfigError, TrainingDivergedError, TrainingError
from distspec.io.paths import join_url, model_url, store_url
from distspec.io.storage import split_url, url_to_fs
from distspec.models.config import VAEConfig
from distspec.models.pretrained import describe_too_few
from distspec.models.record import ModelRecord, TrainingMetrics, has_model, read_model_record
from distspec.models.serialization import load_vae, save_model
from distspec.models.vae import SpectrumVAE
from distspec.stages.progress import show_progress
from distspec.stages.result import StageResult
from distspec.stages.session import can_autoscale, count_worker_slots, n_gpus
from distspec.store.snapshots import model_tag, tag_snapshot
from distspec.store.store import Store, open_store
from distspec.training.checkpoint_files import delete_checkpoints
from distspec.training.config import TrainingConfig
from distspec.training.distributed import ProcessGroup
from distspec.training.record import EpochMetrics, build_model_record, compute_model_id
from distspec.training.setup import (
    TrainValidationSplit,
    build_trainer,
    read_repeat_rows,
    split_rows,
)
from distspec.training.steps import init_training_state
from distspec.training.tensorboard import TensorBoardWriter, require_tensorboard
from distspec.training.trainer import Trainer, fit

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingTask:
    """What a Ray Train worker is given.

    Attributes
    ----------
    root : str
        Root of the store and of the model.
    training : TrainingConfig
        Settings of the training.
    record : ModelRecord
        Record of the model, without its result.
    progress_actor : Any
        Handle of the actor that shows the progress.
    """

    root: str
    training: TrainingConfig
    record: ModelRecord
    progress_actor: Any

    @property
    def url(self) -> str:
        """Folder of the model."""
        return model_url(self.root, self.record.model_id)


def train(
    root: str,
    vae_config: VAEConfig,
    training_config: TrainingConfig,
    seed: int,
    parent_model_id: str = "",
    snapshot_id: str = "",
) -> StageResult:
    """Train a VAE on a snapshot of the store, unless the same settings have trained one already.

    A training that was interrupted resumes from its latest checkpoint.

    Parameters
    ----------
    root : str
        Root of the store.
    vae_config : VAEConfig
        Architecture and objective.
    training_config : TrainingConfig
        Settings of the training.
    seed : int
        Random seed.
    parent_model_id : str, optional
        Model of this root whose weights the training starts from; empty to start from new weights.
    snapshot_id : str, optional
        Snapshot of the store; by default the newest.

    Returns
    -------
    StageResult
        The name of the model and its `TrainingMetrics`.

    Raises
    ------
    ConfigError
        If more workers are requested than the cluster can hold.
    TrainingError
        If there are too few spectra, or if workers failed more often than ``training.max_failures``.
    TrainingDivergedError
        If a gradient or a loss is not finite.
    """
    store = open_store(store_url(root), snapshot_id)
    model_id = compute_model_id(store.dataset_checksum(), vae_config, training_config, seed, parent_model_id)
    url = model_url(root, model_id)
    if has_model(url):
        _finish_training(root, url)  # the job that trained the model may have been killed before this
        return StageResult({"model": model_id}, did_work=False)
    split = split_rows(store, training_config)  # here, so that too few spectra are not a worker's failure
    too_few = describe_too_few(len(split.train), store.config)
    if too_few and not snapshot_id:  # further models have the snapshot of the first, for which it is logged
        log.warning("train: %s", too_few)
    if training_config.tensorboard:
        require_tensorboard()
    scaling_config = _choose_workers(store, split, training_config)
    record = build_model_record(store, model_id, vae_config, training_config, seed, parent_model_id)
    with show_progress(training_config.max_epochs, "train", "epoch") as progress_actor:
        task = TrainingTask(root, training_config, record, progress_actor)
        failure = _run_workers(task, scaling_config)
    if failure:
        raise TrainingDivergedError(failure)
    _finish_training(root, url)
    return StageResult({"model": model_id, **read_model_record(url).metrics.to_json()})


def count_concurrent_trainings(store: Store, config: TrainingConfig) -> int:
    """Return how many models the present nodes can train at a time, at least 1.

    Parameters
    ----------
    store : Store
        Snapshot of the store to train on.
    config : TrainingConfig
        Settings of the trainings.
    """
    scaling_config = _choose_workers(store, split_rows(store, config), config)
    resources: Any = scaling_config.resources_per_worker or {}
    return max(1, count_worker_slots(resources) // config.workers)


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


def _run_workers(task: TrainingTask, scaling_config: ScalingConfig) -> str:
    """Run the workers and return why the training cannot succeed; empty if it has succeeded."""
    config = task.training
    trainer = _Trainer(
        _train_worker,
        train_loop_config={"task": task},
        scaling_config=scaling_config,
        torch_config=TorchConfig(backend="nccl" if scaling_config.use_gpu else "gloo"),
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
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise TrainingError(
            f"training failed more often than training.max_failures {config.max_failures} allows; run it "
            f"again to resume from the latest checkpoint. The last failure: {lines[-1]}"
        ) from error


def _finish_training(root: str, url: str) -> None:
    """Delete the checkpoints of a complete model, and tag its snapshot to keep it."""
    delete_checkpoints(_checkpoints_url(url))
    record = read_model_record(url)
    tag_snapshot(root, model_tag(record.model_id), record.snapshot_id)


def _checkpoints_url(url: str) -> str:
    """Return the folder of a model's checkpoints."""
    return join_url(url, "checkpoints")


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


def _estimate_worker_memory(store: Store, split: TrainValidationSplit, config: TrainingConfig) -> float:
    """Return the memory of a worker [bytes] with the fewest workers, when each holds the most spectra."""
    fewest_workers = config.min_workers or config.workers
    return memory.estimate_training_memory(
        store.n_rows,
        len(split.train),
        -(-len(split.validation) // fewest_workers),
        store.config.grid.n_pixels,
        config.cache_mb,
        config.shuffle_window_chunks * store.chunk_rows,
        config.prefetch_windows,
    )


def _choose_workers(store: Store, split: TrainValidationSplit, config: TrainingConfig) -> ScalingConfig:
    """Return the number of workers that train on a store and the resources of each."""
    use_gpu = n_gpus() >= config.workers if config.use_gpu is None else config.use_gpu
    return _make_scaling_config(config, use_gpu, _estimate_worker_memory(store, split, config))


def _make_scaling_config(config: TrainingConfig, use_gpu: bool, worker_memory: float) -> ScalingConfig:
    """Return the number of workers and the resources of each.

    Raises
    ------
    ConfigError
        If the cluster cannot hold them and cannot grow.
    """
    resources = {"CPU": float(config.threads), "memory": worker_memory, **({"GPU": 1.0} if use_gpu else {})}
    fewest_workers = config.min_workers or config.workers
    n_slots = count_worker_slots(resources)
    if n_slots < fewest_workers:
        shortage = (
            f"training needs {fewest_workers} workers with {config.threads} CPUs"
            f"{', a GPU' if use_gpu else ''} and {worker_memory / 1e6:,.0f} MB each, and the cluster has "
            f"room for {n_slots}"
        )
        if not can_autoscale():
            raise ConfigError(
                f"{shortage}: lower training.workers, training.threads, training.cache_mb or "
                "training.shuffle_window_chunks, or set training.min_workers"
            )
        log.warning("%s: waiting for more nodes", shortage)
    is_elastic = 0 < config.min_workers < config.workers
    return ScalingConfig(
        num_workers=(config.min_workers, config.workers) if is_elastic else config.workers,
        use_gpu=use_gpu,
        resources_per_worker=resources,
    )


def _train_worker(config: dict[str, Any]) -> str:
    """Train as one of the workers; worker 0 writes the model.

    Returns why the training cannot succeed, such as a gradient that is not finite; empty if it has succeeded.
    Errors that may not occur again, such as the loss of a worker, are raised, so that Ray Train retries.
    """
    task: TrainingTask = config["task"]
    training, record, device = task.training, task.record, _select_device()
    context = ray.train.get_context()
    process_group = ProcessGroup(context.get_world_rank(), context.get_world_size(), device)
    torch.set_num_threads(training.threads)
    store = open_store(store_url(task.root), snapshot=record.snapshot_id)
    split = split_rows(store, training)
    torch.manual_seed(record.seed)
    vae = SpectrumVAE(record.input_sizes, record.vae, store.config.grid.wave_rest).to(device)
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
        _checkpoints_url(task.url),
        _is_preempted,
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
        record = replace(record, adaptations=split.adaptations, device=str(device), metrics=metrics)
        history = pa.Table.from_pylist([metrics.to_row() for metrics in state.history])
        save_model(task.url, vae.state_dict(), history, record)
    return ""


def _calibrate_posteriors(vae: SpectrumVAE, store: Store, trainer: Trainer) -> None:
    """Calibrate the posteriors with the repeats in the store."""
    rows = read_repeat_rows(store)
    vae.calibrate_posteriors(trainer.read_rows(rows[:, 0]), trainer.read_rows(rows[:, 1]))


def _select_device() -> torch.device:
    """Return the worker's device and make it torch's current one."""
    device: Any = get_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def _is_preempted() -> bool:
    """Return whether Ray Train knows that a node is about to be reclaimed."""
    return ray.train.get_preemption_info() is not None
