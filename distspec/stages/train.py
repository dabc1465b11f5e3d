"""The train stage: train the VAE on the store, and resume after failures."""

from __future__ import annotations

import logging

from distspec.core import memory
from distspec.core.errors import ConfigError, TrainingDivergedError, TrainingError
from distspec.io.paths import model_url, store_url
from distspec.models.config import VAEConfig
from distspec.models.pretrained import describe_too_few
from distspec.models.record import has_model, read_model_record
from distspec.stages.progress import show_progress
from distspec.stages.result import StageResult
from distspec.stages.session import can_autoscale, count_worker_slots, n_gpus
from distspec.stages.train_workers import run_workers
from distspec.stages.training_task import TrainingFailure, TrainingTask, WorkerPlan, get_checkpoints_url
from distspec.store.snapshots import model_tag, tag_snapshot
from distspec.store.store import Store, open_store
from distspec.training.checkpoint_files import delete_checkpoints
from distspec.training.config import TrainingConfig
from distspec.training.record import build_model_record, compute_model_id
from distspec.training.setup import TrainValidationSplit, split_rows
from distspec.training.tensorboard import require_tensorboard

log = logging.getLogger(__name__)


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
    workers = _choose_workers(store, split, training_config)
    record = build_model_record(store, model_id, vae_config, training_config, seed, parent_model_id)
    with show_progress(training_config.max_epochs, "train", "epoch") as progress_actor:
        task = TrainingTask(root, training_config, record, progress_actor)
        failure = _run_workers(task, workers)
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
    resources = _choose_workers(store, split_rows(store, config), config).resources
    return max(1, count_worker_slots(resources) // config.workers)


def _run_workers(task: TrainingTask, workers: WorkerPlan) -> str:
    """Run the workers and return why the training cannot succeed; empty if it has succeeded."""
    try:
        return run_workers(task, workers)
    except TrainingFailure as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise TrainingError(
            f"training failed more often than training.max_failures {task.training.max_failures} allows; run "
            f"it again to resume from the latest checkpoint. The last failure: {lines[-1]}"
        ) from error


def _finish_training(root: str, url: str) -> None:
    """Delete the checkpoints of a complete model, and tag its snapshot to keep it."""
    delete_checkpoints(get_checkpoints_url(url))
    record = read_model_record(url)
    tag_snapshot(root, model_tag(record.model_id), record.snapshot_id)


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


def _choose_workers(store: Store, split: TrainValidationSplit, config: TrainingConfig) -> WorkerPlan:
    """Return the number of workers that train on a store and the resources of each."""
    use_gpu = n_gpus() >= config.workers if config.use_gpu is None else config.use_gpu
    return _plan_workers(config, use_gpu, _estimate_worker_memory(store, split, config))


def _plan_workers(config: TrainingConfig, use_gpu: bool, worker_memory: float) -> WorkerPlan:
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
    return WorkerPlan(fewest_workers if is_elastic else config.workers, config.workers, use_gpu, resources)
