"""Ensembles of models: further models that differ from a trained one in the seed of their weights."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import ray
from ray.exceptions import RayTaskError

from distspec.core import memory
from distspec.core.errors import DistspecError, NotFoundError, TrainingDivergedError
from distspec.io.paths import model_url, store_url
from distspec.models.record import ModelRecord, has_model, read_model_record
from distspec.stages.pool import count_retries, map_ordered
from distspec.stages.progress import Progress
from distspec.stages.train import count_concurrent_trainings, train
from distspec.store.store import open_store
from distspec.training.record import compute_model_id, get_training_config

log = logging.getLogger("distspec")
SEEDS_PER_MODEL = 2
"""Number of seeds that are tried for each further model, in case a training diverges."""


def list_ensemble(root: str, model_id: str, n_models: int) -> list[str]:
    """Return a model and those that were trained like it.

    Parameters
    ----------
    root : str
        Root of the models.
    model_id : str
        The first model; it need not be trained yet.
    n_models : int
        Number of models.

    Returns
    -------
    list of str
        Identifiers, the given one first, the others by their seeds.

    Raises
    ------
    NotFoundError
        If the first model is trained and others are not.
    """
    url = model_url(root, model_id)
    if n_models == 1 or not has_model(url):
        return [model_id]
    found = _find_trained(root, read_model_record(url), n_models)
    if len(found) < n_models - 1:
        raise NotFoundError(
            f"{len(found) + 1} of {n_models} models like {model_id} are trained under {root}: run "
            f"`distspec run train RECIPE --root {root}` with these settings first, or use "
            "--clustering.n-models 1"
        )
    return [model_id, *found]


def train_ensemble(root: str, model_id: str, n_models: int) -> int:
    """Train models like a given one, from other initial weights, as many at a time as the cluster holds.

    Each has the settings and the snapshot of the given model, and one of the next seeds; a seed whose
    training diverges is left out. Models that exist already are not trained again.

    Parameters
    ----------
    root : str
        Root of the store and of the models.
    model_id : str
        The first model, which is trained.
    n_models : int
        Number of models, the first one included.

    Returns
    -------
    int
        Number of models that were trained now.

    Raises
    ------
    TrainingDivergedError
        If the trainings of too many seeds diverged.
    TrainingError
        As `distspec.stages.train.train`.
    """
    record = read_model_record(model_url(root, model_id))
    seeds = iter(_list_candidates(record, n_models))
    n_trained, failure = 0, ""
    while n_missing := n_models - 1 - len(_find_trained(root, record, n_models)):
        missing = (seed for seed in seeds if not has_model(_candidate_url(root, record, seed)))
        batch = [seed for _, seed in zip(range(n_missing), missing, strict=False)]
        if not batch:
            raise TrainingDivergedError(
                f"{n_missing} of {n_models} models like {model_id} cannot be trained: {failure}; lower "
                "--training.learning-rate, or use --clustering.n-models 1"
            )
        with Progress("train", len(batch), "model") as progress:
            for seed, diverged in zip(batch, _train_seeds(root, record, batch), strict=True):
                progress.advance(1)
                n_trained += not diverged
                if diverged:
                    failure = diverged
                    log.warning("train: the model with seed %d is left out: %s", seed, diverged)
    return n_trained


@contextmanager
def train_alongside(root: str, record: ModelRecord, n_models: int) -> Generator[None]:
    """Train models like a given one while that is trained, as many as the cluster holds beside it.

    Any that cannot be trained are left to `train_ensemble`. If the body raises, the trainings are cancelled;
    they continue from their checkpoints when they are wanted again.

    Parameters
    ----------
    root : str
        Root of the store and of the models.
    record : ModelRecord
        Record of the given model, whose training is the body of the context.
    n_models : int
        Number of models, the given one included.
    """
    seeds = _list_candidates(record, n_models)[: n_models - 1]
    if seeds:
        store = open_store(store_url(root), record.snapshot_id)
        seeds = seeds[: count_concurrent_trainings(store, get_training_config(record)) - 1]
    trainings = [_train_seed.remote(root, record, seed) for seed in seeds]
    try:
        yield
    except BaseException:
        for training in trainings:
            ray.cancel(training)
        raise
    if trainings:
        ray.wait(trainings, num_returns=len(trainings))


def _list_candidates(record: ModelRecord, n_models: int) -> range:
    """Return the seeds that further models may have."""
    return range(record.seed + 1, record.seed + 1 + SEEDS_PER_MODEL * (n_models - 1))


def _candidate_url(root: str, record: ModelRecord, seed: int) -> str:
    """Return the folder of the model that is trained like another one with a given seed."""
    training = get_training_config(record)
    return model_url(root, compute_model_id(record.dataset_checksum, record.vae, training, seed))


def _find_trained(root: str, record: ModelRecord, n_models: int) -> list[str]:
    """Return the trained models among the candidates, at most as many as are needed."""
    urls = [_candidate_url(root, record, seed) for seed in _list_candidates(record, n_models)]
    return [url.rpartition("/")[2] for url in urls if has_model(url)][: n_models - 1]


def _train_seeds(root: str, record: ModelRecord, seeds: list[int]) -> Iterator[str]:
    """Train models with the given seeds; yield for each why it diverged, or an empty text."""
    store = open_store(store_url(root), record.snapshot_id)
    n_concurrent = count_concurrent_trainings(store, get_training_config(record))
    try:
        yield from map_ordered(
            lambda seed: _train_seed.remote(root, record, seed), seeds, lambda: n_concurrent
        )
    except RayTaskError as error:
        if not isinstance(error.cause, DistspecError):
            raise
        raise error.cause from error


@ray.remote(num_cpus=0, memory=memory.WORKER_BYTES, max_retries=3)
@count_retries
def _train_seed(root: str, record: ModelRecord, seed: int) -> str:
    """Train a model like that of a record with another seed, and return why it diverged.

    The task only waits for the workers of the training, which have CPUs of their own.
    """
    training = get_training_config(record)
    try:
        train(root, record.vae, training, seed, snapshot_id=record.snapshot_id)
    except TrainingDivergedError as error:
        return str(error)
    return ""
