"""The train stage: failures that end it, what it writes, and settings that it refuses."""

import signal

import numpy as np
import pytest
import ray
import torch

from distspec.core.errors import ConfigError, TrainingDivergedError, TrainingError
from distspec.io.files import list_files, read_json
from distspec.io.paths import join_url, model_url, store_url
from distspec.models.model import load_model
from distspec.stages import session, train_workers
from distspec.stages import train as train_module
from distspec.stages.train import train
from distspec.store.snapshots import list_snapshots
from distspec.store.store import StoreConfig, create_store, open_store
from distspec.training.config import TrainingConfig
from distspec.training.setup import split_rows
from tests.conftest import append, batch_of, identity_of
from tests.helpers import models
from tests.training.build_store import SMALL, make_store

CONFIG = TrainingConfig(learning_rate=1e-3, max_epochs=3)


def test_bad_value_ends_the_training_and_is_named(tmp_path, local_ray):
    """There is one attempt, although three failures are allowed: a retry would not help."""
    store = make_store(tmp_path, 100)
    batch = batch_of(1, 32, np.random.default_rng(1), prefix="bad")
    batch.flux[0, 7], batch.ivar[0, 7] = np.nan, 100.0
    append(store, batch, identity_of(1, "other"))
    store = open_store(store.url)
    rows = split_rows(store, CONFIG)
    assert 100 in rows.train
    config = TrainingConfig(learning_rate=1e-3, max_epochs=3, batch_size=len(rows.train))
    with pytest.raises(TrainingDivergedError, match=r"step 0 .*not finite in bad0000; also in its batch: o0"):
        train(str(tmp_path), SMALL, config, 0)
    assert not [name for name in list_files(f"{tmp_path}/models") if name.endswith("model.json")]


def test_a_training_that_starts_from_another_model(tmp_path, local_ray, monkeypatch):
    """The store grows during the training, whose model belongs to the snapshot at the start.

    It learns next to nothing, and so ends with the weights that it started from. TensorBoard events and the
    snapshot's tag are written. Ray Train trains, as on a cluster. A training whose driver is killed:
    tests/training/test_kills.py.
    """
    monkeypatch.setattr(train_workers, "can_autoscale", lambda: True)
    store = make_store(tmp_path, 100)
    root = str(tmp_path)
    models.save(store, root, "m-parent")

    split = train_module.split_rows

    def split_and_grow(*arguments):
        result = split(*arguments)
        batch = batch_of(60, 32, np.random.default_rng(2), prefix="new")
        append(open_store(store.url), batch, identity_of(60, "new"))
        return result

    monkeypatch.setattr(train_module, "split_rows", split_and_grow)
    sigint_handler = signal.getsignal(signal.SIGINT)
    config = TrainingConfig(learning_rate=1e-12, max_epochs=1, patience=1, tensorboard=True)
    counts = train(root, models.SMALL, config, 0, "m-parent").summary
    assert signal.getsignal(signal.SIGINT) is sigint_handler, "Ray Train's own ends the process with 0"
    record = read_json(join_url(root, "models", str(counts["model"]), "model.json"))
    assert record["snapshot_id"] == store.snapshot_id
    assert counts["n_train"] + counts["n_validation"] == 100
    assert open_store(store_url(root)).n_rows == 160
    tags = {row["snapshot_id"]: row["tags"] for row in list_snapshots(root).to_pylist()}
    assert tags[store.snapshot_id] == f"model-{counts['model']}"
    events = [name for name in list_files(join_url(root, "models")) if "tensorboard/events" in name]
    assert len(events) == 1

    child, parent = (load_model(model_url(root, name)) for name in (str(counts["model"]), "m-parent"))
    assert child.record.parent_model_id == "m-parent"
    for (name, weight), (_, before) in zip(
        child.vae.named_parameters(), parent.vae.named_parameters(), strict=True
    ):
        assert torch.allclose(weight, before, atol=1e-6), name

    names = {actor["ActorClassName"] for actor in ray._private.state.actors().values()}
    assert any("RayTrainWorker" in name for name in names), names
    assert not any("PlacementGroupCleaner" in name for name in names), "Ray Train's detached actor"


def test_more_workers_than_a_local_ray_can_hold_are_refused(tmp_path, local_ray):
    make_store(tmp_path, 100)
    resources = ray.cluster_resources()
    cpus, gpus = int(resources["CPU"]), int(resources.get("GPU", 0))
    for config in (
        TrainingConfig(workers=cpus + 1),
        TrainingConfig(threads=cpus + 1),
        TrainingConfig(use_gpu=True, workers=gpus + 1),
    ):
        with pytest.raises(ConfigError, match=r"the cluster has room for \d: lower training\.workers"):
            train(str(tmp_path), SMALL, config, 0)


def test_worker_slots_are_counted_by_node(monkeypatch):
    nodes = [
        {"Alive": True, "Resources": {"CPU": 3.0, "GPU": 1.0}},
        {"Alive": True, "Resources": {"CPU": 1.0}},
    ]
    monkeypatch.setattr(session.ray, "nodes", lambda: [*nodes, {"Alive": False, "Resources": {"CPU": 64.0}}])
    assert session.count_worker_slots({"CPU": 1.0}) == 4
    assert session.count_worker_slots({"CPU": 2.0}) == 1
    assert session.count_worker_slots({"CPU": 1.0, "GPU": 1.0}) == 1


def test_too_few_spectra_are_refused(tmp_path, small_grid):
    store = create_store(store_url(str(tmp_path)), StoreConfig(small_grid, 1500.0, -2.0))
    append(store, batch_of(3, small_grid.n_pixels, np.random.default_rng(0)), identity_of(3))
    with pytest.raises(TrainingError, match="training needs 2 per worker"):
        train(str(tmp_path), SMALL, TrainingConfig(workers=2), 0)
