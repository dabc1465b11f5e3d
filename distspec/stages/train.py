"""Training on Ray Train: each worker feeds itself from the store; what stops one is made good by the rest."""

from __future__ import annotations

import logging
from typing import Any

import pyarrow as pa
import pyarrow.fs
import ray.train
import torch
from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchConfig, TorchTrainer, get_device

from distspec.core import memory
from distspec.io.files import read_json
from distspec.io.paths import join_url, model_url, store_url
from distspec.io.storage import split_url, url_to_fs
from distspec.models.config import SPECTRUM_KEY, VAEConfig
from distspec.models.serialization import has_model, load_vae, save_model
from distspec.models.vae import SpectrumVAE
from distspec.stages.progress import show_progress
from distspec.stages.result import StageResult
from distspec.stages.session import can_autoscale, count_worker_slots, n_gpus
from distspec.store.snapshots import model_tag, tag_snapshot
from distspec.store.store import Store, open_store
from distspec.training.checkpoint_files import delete_checkpoints
from distspec.training.config import TrainingConfig
from distspec.training.distributed import ProcessGroup
from distspec.training.record import build_model_record, compute_model_id
from distspec.training.setup import TrainValidationSplit, build_trainer, read_repeat_rows, split_rows
from distspec.training.state import EpochMetrics
from distspec.training.steps import init_training_state
from distspec.training.tensorboard import TensorBoardWriter, require_tensorboard
from distspec.training.trainer import fit

log = logging.getLogger(__name__)


def train(
    root: str, vae_config: VAEConfig, training_config: TrainingConfig, seed: int, parent: str = ""
) -> StageResult:
    """Train a VAE on the store as it is now, unless these settings have made it already.

    A training that was cut short goes on from its newest checkpoint.

    Parameters
    ----------
    root : str
    vae_config : VAEConfig
    training_config : TrainingConfig
    seed : int
    parent : str
        The model of this root whose weights it starts from; empty: it starts anew.

    Raises
    ------
    ValueError
        When there are too few spectra, or more workers are asked for than the cluster can hold.
    FloatingPointError
        When a gradient or a loss is not finite any more.
    RuntimeError
        When workers failed more often than `training.max_failures`.
    """
    store = open_store(store_url(root))
    name = compute_model_id(store.dataset_checksum(), vae_config, training_config, seed, parent)
    url = model_url(root, name)
    if has_model(url):
        delete_checkpoints(_checkpoints_url(url))  # a kill may have come just before that
        _tag_snapshot(root, url)
        return StageResult({"model": name}, did_work=False)
    rows = split_rows(store, training_config)  # too few spectra: say so here, not in a worker
    if training_config.tensorboard:
        require_tensorboard()
    gpu = n_gpus() >= training_config.workers if training_config.use_gpu is None else training_config.use_gpu
    scaling = _make_scaling_config(training_config, gpu, _worker_memory(store, rows, training_config))
    with show_progress(training_config.max_epochs, "train", "epoch") as board:
        trainer = TorchTrainer(
            _train_worker,
            train_loop_config={
                "root": root,
                "url": url,
                "snapshot": store.snapshot_id,
                "vae": vae_config,
                "training": training_config,
                "seed": seed,
                "record": build_model_record(store, name, training_config, seed, parent),
                "parent": model_url(root, parent) if parent else "",
                "board": board,
            },
            scaling_config=scaling,
            torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
            run_config=RunConfig(
                name=name,
                failure_config=FailureConfig(
                    max_failures=training_config.max_failures,
                    max_preemption_failures=training_config.max_preemptions,
                ),
                logging_config=LoggingConfig(log_level="ERROR"),
                **_ray_storage(root),
            ),
        )
        try:
            failure = trainer.fit().return_value
        except TrainingFailedError as error:
            said = [line for line in str(error).splitlines() if line.strip()]
            raise RuntimeError(
                f"training failed more often than training.max_failures {training_config.max_failures} allows; "
                f"run it again to go on from the last checkpoint. The last failure: {said[-1].strip()}"
            ) from error
    if failure:
        raise FloatingPointError(failure)
    delete_checkpoints(_checkpoints_url(url))
    _tag_snapshot(root, url)
    metrics: dict[str, Any] = read_json(join_url(url, "model.json"))["metrics"]
    return StageResult({"model": name, **metrics})


def _checkpoints_url(url: str) -> str:
    return join_url(url, "checkpoints")


def _ray_storage(root: str) -> dict[str, Any]:
    """Return where Ray Train keeps its marks; buckets through our storage, which knows their endpoints."""
    url = join_url(root, "models")
    scheme, _, path = split_url(url)
    if scheme == "file":
        return {"storage_path": path}
    bucket, path = url_to_fs(url)
    return {
        "storage_path": path,
        "storage_filesystem": pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(bucket)),
    }


def _worker_memory(
    store: Store, train_validation_split: TrainValidationSplit, training_config: TrainingConfig
) -> float:
    """Return what a worker needs [bytes]; of as few as there may be, as each holds the more spectra."""
    fewest = training_config.min_workers or training_config.workers
    return memory.estimate_training_memory(
        store.n_rows,
        len(train_validation_split.train),
        -(-len(train_validation_split.validation) // fewest),
        store.config.grid.n_pixels,
        training_config.cache_mb,
        training_config.shuffle_window_chunks * store.chunk_rows,
        training_config.prefetch_windows,
    )


def _make_scaling_config(training_config: TrainingConfig, use_gpu: bool, memory: float) -> ScalingConfig:
    """Return how many workers there are to be, and what each takes, `memory` [bytes] of it.

    Raises
    ------
    ValueError
        When the cluster cannot hold them and will never grow.
    """
    each = {"CPU": float(training_config.threads), "memory": memory, **({"GPU": 1.0} if use_gpu else {})}
    least = training_config.min_workers or training_config.workers
    there = count_worker_slots(each)
    if there < least:
        said = (
            f"{least} workers of {training_config.threads} CPUs{', a GPU' if use_gpu else ''} and "
            f"{memory / 1e6:,.0f} MB each are wanted, and the cluster has room for {there}"
        )
        if not can_autoscale():
            raise ValueError(
                f"{said}: lower training.workers, training.threads, training.cache_mb or training.shuffle_window_chunks, or "
                "set training.min_workers"
            )
        log.warning("%s: waiting for more nodes", said)
    is_elastic = 0 < training_config.min_workers < training_config.workers
    return ScalingConfig(
        num_workers=(training_config.min_workers, training_config.workers)
        if is_elastic
        else training_config.workers,
        use_gpu=use_gpu,
        resources_per_worker=each,
    )


def _tag_snapshot(root: str, url: str) -> None:
    """Name the snapshot that a model was trained on after it: then it is not collected."""
    record = read_json(join_url(url, "model.json"))
    tag_snapshot(root, model_tag(str(record["model_id"])), str(record["snapshot_id"]))


def _train_worker(config: dict[str, Any]) -> str:
    """Train; worker 0 writes the model. Return what made it impossible, empty where nothing did.

    Only what may pass, such as a lost worker, is left to Ray Train's retries; a gradient that is not finite
    would be so again.
    """
    training: TrainingConfig = config["training"]
    url, seed, device = config["url"], config["seed"], _select_device()
    context = ray.train.get_context()
    team = ProcessGroup(context.get_world_rank(), context.get_world_size(), device)
    torch.set_num_threads(training.threads)
    store = open_store(store_url(config["root"]), snapshot=config["snapshot"])
    grid, rows = store.config.grid, split_rows(store, training)
    torch.manual_seed(seed)
    vae = SpectrumVAE({SPECTRUM_KEY: grid.n_pixels}, config["vae"], grid.wave_rest).to(device)
    state = init_training_state(vae, training)
    curves = TensorBoardWriter(url) if training.tensorboard and team.rank == 0 else None

    def on_epoch(row: EpochMetrics) -> None:
        if team.rank == 0:
            config["board"].post.remote(len(state.history), row)
        if curves:
            curves.write_history(state.history)

    weights = load_vae(config["parent"])[0].state_dict() if config["parent"] else None
    work = build_trainer(
        store, rows, training, seed, team, _checkpoints_url(url), _is_preempted, on_epoch, weights
    )
    try:
        best = fit(state, work)
    except FloatingPointError as error:
        return str(error)
    if curves:
        curves.close()
    if team.rank == 0:
        metrics: dict[str, Any] = {
            "n_train": len(rows.train),
            "n_validation": len(rows.validation),
            "epochs": len(state.history),
            "best_epoch": best.best_epoch,
            "val_recon": best.best_loss,
        }
        vae.load_state_dict(best.best_state_dict)
        twice = read_repeat_rows(store)
        vae.calibrate_posteriors(*(work.read_rows(twice[:, k]) for k in (0, 1)))
        adapted = {"adaptations": rows.adaptations, "device": str(device)}
        record = {**config["record"], **adapted, "metrics": metrics}
        save_model(url, vae, vae.state_dict(), pa.Table.from_pylist(state.history), record)
    return ""


def _select_device() -> torch.device:
    device: Any = get_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def _is_preempted() -> bool:
    return ray.train.get_preemption_info() is not None
