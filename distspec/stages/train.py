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
from distspec.io.files import get_json
from distspec.io.paths import join, model_url, store_url
from distspec.io.storage import filesystem, split
from distspec.models.config import VAEConfig
from distspec.models.serialization import has_model, read_model, save_model
from distspec.models.vae import SPECTRUM, SpectrumVAE
from distspec.stages.progress import shown
from distspec.stages.result import Outcome
from distspec.stages.session import can_grow, n_gpus, room
from distspec.store.snapshots import model_tag, tag
from distspec.store.store import Store, open_store
from distspec.training.checkpoint_files import forget
from distspec.training.config import TrainingConfig
from distspec.training.distributed import Team
from distspec.training.record import model_id, origin
from distspec.training.setup import Split, provide, repeated_rows, split_rows
from distspec.training.state import Row
from distspec.training.steps import new_state
from distspec.training.tensorboard import Curves, require_tensorboard
from distspec.training.trainer import fit

log = logging.getLogger(__name__)


def train(root: str, vae: VAEConfig, training: TrainingConfig, seed: int, parent: str = "") -> Outcome:
    """Train a VAE on the store as it is now, unless these settings have made it already.

    A training that was cut short goes on from its newest checkpoint.

    Parameters
    ----------
    root : str
    vae : VAEConfig
    training : TrainingConfig
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
    name = model_id(store.digest(), vae, training, seed, parent)
    url = model_url(root, name)
    if has_model(url):
        forget(_checkpoints(url))  # a kill may have come just before that
        _keep_snapshot(root, url)
        return Outcome({"model": name}, did_work=False)
    rows = split_rows(store, training)  # too few spectra: say so here, not in a worker
    if training.tensorboard:
        require_tensorboard()
    gpu = n_gpus() >= training.workers if training.gpu is None else training.gpu
    scaling = _scaling(training, gpu, _memory(store, rows, training))
    with shown(training.max_epochs, "train", "epoch") as board:
        trainer = TorchTrainer(
            _worker,
            train_loop_config={
                "root": root,
                "url": url,
                "snapshot": store.snapshot_id,
                "vae": vae,
                "training": training,
                "seed": seed,
                "record": origin(store, name, training, seed, parent),
                "parent": model_url(root, parent) if parent else "",
                "board": board,
            },
            scaling_config=scaling,
            torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
            run_config=RunConfig(
                name=name,
                failure_config=FailureConfig(
                    max_failures=training.max_failures, max_preemption_failures=training.max_preemptions
                ),
                logging_config=LoggingConfig(log_level="ERROR"),
                **_storage(root),
            ),
        )
        try:
            failure = trainer.fit().return_value
        except TrainingFailedError as error:
            said = [line for line in str(error).splitlines() if line.strip()]
            raise RuntimeError(
                f"training failed more often than training.max_failures {training.max_failures} allows; "
                f"run it again to go on from the last checkpoint. The last failure: {said[-1].strip()}"
            ) from error
    if failure:
        raise FloatingPointError(failure)
    forget(_checkpoints(url))
    _keep_snapshot(root, url)
    metrics: dict[str, Any] = get_json(join(url, "model.json"))["metrics"]
    return Outcome({"model": name, **metrics})


def _checkpoints(url: str) -> str:
    return join(url, "checkpoints")


def _storage(root: str) -> dict[str, Any]:
    """Return where Ray Train keeps its marks; buckets through our storage, which knows their endpoints."""
    url = join(root, "models")
    scheme, _, path = split(url)
    if scheme == "file":
        return {"storage_path": path}
    bucket, path = filesystem(url)
    return {
        "storage_path": path,
        "storage_filesystem": pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(bucket)),
    }


def _memory(store: Store, rows: Split, training: TrainingConfig) -> float:
    """Return what a worker needs [bytes]; of as few as there may be, as each holds the more spectra."""
    fewest = training.min_workers or training.workers
    return memory.training(
        store.n_rows,
        len(rows.train),
        -(-len(rows.held_out) // fewest),
        store.frozen.grid.n_pixels,
        training.cache_mb,
        training.window * store.chunk_rows,
        training.prefetch,
    )


def _scaling(training: TrainingConfig, gpu: bool, memory: float) -> ScalingConfig:
    """Return how many workers there are to be, and what each takes, `memory` [bytes] of it.

    Raises
    ------
    ValueError
        When the cluster cannot hold them and will never grow.
    """
    each = {"CPU": float(training.threads), "memory": memory, **({"GPU": 1.0} if gpu else {})}
    least = training.min_workers or training.workers
    there = room(each)
    if there < least:
        said = (
            f"{least} workers of {training.threads} CPUs{', a GPU' if gpu else ''} and "
            f"{memory / 1e6:,.0f} MB each are wanted, and the cluster has room for {there}"
        )
        if not can_grow():
            raise ValueError(
                f"{said}: lower training.workers, training.threads, training.cache_mb or training.window, or "
                "set training.min_workers"
            )
        log.warning("%s: waiting for more nodes", said)
    is_elastic = 0 < training.min_workers < training.workers
    return ScalingConfig(
        num_workers=(training.min_workers, training.workers) if is_elastic else training.workers,
        use_gpu=gpu,
        resources_per_worker=each,
    )


def _keep_snapshot(root: str, url: str) -> None:
    """Name the snapshot that a model was trained on after it: then it is not collected."""
    record = get_json(join(url, "model.json"))
    tag(root, model_tag(str(record["model_id"])), str(record["snapshot_id"]))


def _worker(config: dict[str, Any]) -> str:
    """Train; worker 0 writes the model. Return what made it impossible, empty where nothing did.

    Only what may pass, such as a lost worker, is left to Ray Train's retries; a gradient that is not finite
    would be so again.
    """
    training: TrainingConfig = config["training"]
    url, seed, device = config["url"], config["seed"], _device()
    context = ray.train.get_context()
    team = Team(context.get_world_rank(), context.get_world_size(), device)
    torch.set_num_threads(training.threads)
    store = open_store(store_url(config["root"]), at=config["snapshot"])
    grid, rows = store.frozen.grid, split_rows(store, training)
    torch.manual_seed(seed)
    vae = SpectrumVAE({SPECTRUM: grid.n_pixels}, config["vae"], grid.wave_rest).to(device)
    state = new_state(vae, training)
    curves = Curves(url) if training.tensorboard and team.rank == 0 else None

    def on_epoch(row: Row) -> None:
        if team.rank == 0:
            config["board"].post.remote(len(state.history), row)
        if curves:
            curves.follow(state.history)

    weights = read_model(config["parent"])[0].state_dict() if config["parent"] else None
    work = provide(store, rows, training, seed, team, _checkpoints(url), _called_away, on_epoch, weights)
    try:
        best = fit(state, work)
    except FloatingPointError as error:
        return str(error)
    if curves:
        curves.close()
    if team.rank == 0:
        metrics: dict[str, Any] = {
            "n_train": len(rows.train),
            "n_validation": len(rows.held_out),
            "epochs": len(state.history),
            "best_epoch": best.best_epoch,
            "val_recon": best.best,
        }
        vae.load_state_dict(best.best_state)
        twice = repeated_rows(store)
        vae.calibrate(*(work.read(twice[:, k]) for k in (0, 1)))
        adapted = {"adaptations": rows.adapted, "device": str(device)}
        record = {**config["record"], **adapted, "metrics": metrics}
        save_model(url, vae, vae.state_dict(), pa.Table.from_pylist(state.history), record)
    return ""


def _device() -> torch.device:
    device: Any = get_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def _called_away() -> bool:
    return ray.train.get_preemption_info() is not None
