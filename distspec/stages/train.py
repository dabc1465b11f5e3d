"""Training on Ray Train: each worker holds its share of the spectra and all stop together."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import ray.train
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer, get_device, prepare_model

from distspec.identity import in_validation
from distspec.lineage import has_model, model_id, now, save_model, versions
from distspec.outcome import Outcome
from distspec.places import get_json, join, model_url, store_url
from distspec.snapshots import model_tag, tag
from distspec.stages.progress import shown
from distspec.stages.session import n_gpus
from distspec.store import Store, open_store
from distspec.training import Row, Sample, TrainingConfig, fit
from distspec.vae import SPECTRUM, SpectrumVAE, VAEConfig

log = logging.getLogger(__name__)


def train(root: str, vae: VAEConfig, training: TrainingConfig, seed: int) -> Outcome:
    """Train a VAE on the store as it is now, unless these settings have made it already.

    Parameters
    ----------
    root : str
    vae : VAEConfig
    training : TrainingConfig
    seed : int

    Raises
    ------
    ValueError
        When there are too few spectra.
    """
    store = open_store(store_url(root))
    name = model_id(store.digest(), vae, training, seed)
    url = model_url(root, name)
    if has_model(url):
        _keep_snapshot(root, url)
        return Outcome({"model": name}, did_work=False)
    split_rows(store, training)  # too few spectra: say so here, not in a worker
    gpu = n_gpus() >= training.workers if training.gpu is None else training.gpu
    with shown(training.max_epochs, "train", "epoch") as board:
        trainer = TorchTrainer(
            _worker,
            train_loop_config={
                "root": root,
                "url": url,
                "vae": vae,
                "training": training,
                "seed": seed,
                "record": _origin(store, name, training, seed),
                "board": board,
            },
            scaling_config=ScalingConfig(num_workers=training.workers, use_gpu=gpu),
            torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
            run_config=RunConfig(name=name, storage_path=join(root, "models")),
        )
        trainer.fit()
    _keep_snapshot(root, url)
    metrics: dict[str, Any] = get_json(join(url, "model.json"))["metrics"]
    return Outcome({"model": name, **metrics})


def _keep_snapshot(root: str, url: str) -> None:
    """Name the snapshot that a model was trained on after it: then it is not collected."""
    record = get_json(join(url, "model.json"))
    tag(root, model_tag(str(record["model_id"])), str(record["snapshot_id"]))


def split_rows(
    store: Store, training: TrainingConfig
) -> tuple[NDArray[np.int64], NDArray[np.int64], list[str]]:
    """Return the rows to train on, those held out, and in words what was adapted to a small sample.

    Raises
    ------
    ValueError
        When fewer than two spectra a worker are left to train on.
    """
    standing = store.standing()
    sources = store.ledger(["source_id"])["source_id"].take(pa.array(standing)).to_pylist()
    held_out = in_validation(sources, training.validation_share)
    train_rows, validation_rows = standing[~held_out], standing[held_out]
    adapted: list[str] = []
    if len(validation_rows) < training.workers or len(train_rows) < 2 * training.workers:
        adapted.append(
            f"trained and validated on the same {len(standing)} spectra: too few sources to hold some out"
        )
        train_rows = validation_rows = standing
    if len(train_rows) < 2 * training.workers:
        raise ValueError(
            f"{store.url} holds {store.n_rows} spectra: training needs 2 a worker; "
            "relax the selection (--archive.*) or look into the quarantine"
        )
    if len(train_rows) < training.batch_size:
        adapted.append(
            f"batches of {len(train_rows)} spectra instead of {training.batch_size}: there are no more"
        )
    return train_rows, validation_rows, adapted


def _origin(store: Store, name: str, training: TrainingConfig, seed: int) -> dict[str, Any]:
    return {
        "model_id": name,
        "seed": seed,
        "snapshot_id": store.snapshot_id,
        "data_digest": store.digest(),
        "grid": store.frozen.grid.to_dict(),
        "training": asdict(training),
        "created": now(),
        "versions": versions(),
    }


def _worker(config: dict[str, Any]) -> None:
    """Train on this worker's share; worker 0 writes the model."""
    training: TrainingConfig = config["training"]
    context = ray.train.get_context()
    rank, n_workers = context.get_world_rank(), context.get_world_size()
    torch.set_num_threads(training.threads)
    torch.manual_seed(config["seed"])  # the same first weights everywhere …
    store = open_store(store_url(config["root"]))
    train_rows, validation_rows, adapted = split_rows(store, training)
    vae = SpectrumVAE({SPECTRUM: store.frozen.grid.n_pixels}, config["vae"])
    device: Any = get_device()
    model: Any = prepare_model(vae)
    torch.manual_seed(config["seed"] + 1 + rank)  # … but noise and dropout of each worker's own
    # Equal shares, so that all workers take the same number of steps.
    share = train_rows[rank::n_workers][: len(train_rows) // n_workers]
    history: list[Row] = []

    def on_epoch(row: Row) -> None:
        history.append(row)
        if rank == 0:
            config["board"].post.remote(len(history), f"validation {row['val_recon']:.2f}")

    best = fit(
        model,
        vae,
        _sample(store, share, device),
        _sample(store, validation_rows[rank::n_workers], device),
        training,
        config["seed"] + rank,
        on_epoch,
        _add_up if n_workers > 1 else lambda tensor: tensor,
    )
    metrics: dict[str, Any] = {
        "n_train": len(train_rows),
        "n_validation": len(validation_rows),
        "epochs": len(history),
        "best_epoch": best.best_epoch,
        "val_recon": best.best,
    }
    if rank == 0:
        record = {
            **config["record"],
            "metrics": metrics,
            "adaptations": adapted,
            "device": str(device),
        }
        save_model(config["url"], vae, best.best_state, pa.Table.from_pylist(history), record)
    ray.train.report(metrics)


def _sample(store: Store, rows: NDArray[np.int64], device: Any) -> Sample:
    flux, ivar = store.spectra(rows)
    return Sample(torch.from_numpy(flux).to(device), torch.from_numpy(ivar).to(device))


def _add_up(tensor: torch.Tensor) -> torch.Tensor:
    device: Any = get_device()
    total = tensor.to(device)
    dist.all_reduce(total)
    return total.cpu()
