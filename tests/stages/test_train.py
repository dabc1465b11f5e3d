"""What stops a training for good, what it leaves, and what is refused before it begins."""

import numpy as np
import pytest
import ray

from distspec.io.files import list_files, read_json
from distspec.io.paths import join_url, store_url
from distspec.stages import session
from distspec.stages.train import train
from distspec.store.snapshots import list_snapshots
from distspec.store.store import create_store, open_store
from distspec.training.config import TrainingConfig
from distspec.training.setup import split_rows
from tests.conftest import append, batch_of, identity_of
from tests.training.build_store import SMALL, small_store

CONFIG = TrainingConfig(learning_rate=1e-3, max_epochs=3)


def test_a_bad_value_ends_it_at_once_and_by_name(tmp_path, local_ray, monkeypatch):
    """No retry would help: with three failures allowed there is one attempt."""
    monkeypatch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    store = small_store(tmp_path, 100)
    batch = batch_of(1, 32, np.random.default_rng(1), prefix="bad")
    batch.flux[0, 7], batch.ivar[0, 7] = np.nan, 100.0
    append(store, batch, identity_of(1, "other"))
    store = open_store(store.url)
    rows = split_rows(store, CONFIG)
    assert 100 in rows.train
    config = TrainingConfig(learning_rate=1e-3, max_epochs=3, batch_size=len(rows.train))
    with pytest.raises(FloatingPointError, match=r"step 0 .*not finite in bad0000; also in its batch: o0"):
        train(str(tmp_path), SMALL, config, 0)
    assert not [name for name in list_files(f"{tmp_path}/models") if name.endswith("model.json")]


def test_the_curves_and_the_snapshot_are_kept(tmp_path, local_ray, monkeypatch):
    """The store grows while the model is trained: it is of the state that the driver saw."""
    monkeypatch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    store = small_store(tmp_path, 100)
    root = str(tmp_path)

    from distspec.stages import train as stage

    split = stage.split_rows

    def split_and_grow(*given):
        found = split(*given)
        batch = batch_of(60, 32, np.random.default_rng(2), prefix="new")
        append(open_store(store.url), batch, identity_of(60, "new"))
        return found

    monkeypatch.setattr(stage, "split_rows", split_and_grow)
    counts = train(root, SMALL, TrainingConfig(max_epochs=2, tensorboard=True), 0).counts
    record = read_json(join_url(root, "models", str(counts["model"]), "model.json"))
    assert record["snapshot_id"] == store.snapshot_id
    assert counts["n_train"] + counts["n_validation"] == 100
    assert open_store(store_url(root)).n_rows == 160
    tags = {row["snapshot_id"]: row["tags"] for row in list_snapshots(root).to_pylist()}
    assert tags[store.snapshot_id] == f"model-{counts['model']}"
    events = [name for name in list_files(join_url(root, "models")) if "tensorboard/events" in name]
    assert len(events) == 1


def test_more_workers_than_a_ray_of_our_own_can_hold_are_refused(tmp_path, local_ray):
    small_store(tmp_path, 100)
    here = ray.cluster_resources()
    cpus, gpus = int(here["CPU"]), int(here.get("GPU", 0))
    for config in (
        TrainingConfig(workers=cpus + 1),
        TrainingConfig(threads=cpus + 1),
        TrainingConfig(use_gpu=True, workers=gpus + 1),
    ):
        with pytest.raises(ValueError, match=r"the cluster has room for \d: lower training\.workers"):
            train(str(tmp_path), SMALL, config, 0)


def test_room_is_counted_node_by_node(monkeypatch):
    nodes = [
        {"Alive": True, "Resources": {"CPU": 3.0, "GPU": 1.0}},
        {"Alive": True, "Resources": {"CPU": 1.0}},
    ]
    monkeypatch.setattr(session.ray, "nodes", lambda: [*nodes, {"Alive": False, "Resources": {"CPU": 64.0}}])
    assert session.count_worker_slots({"CPU": 1.0}) == 4
    assert session.count_worker_slots({"CPU": 2.0}) == 1
    assert session.count_worker_slots({"CPU": 1.0, "GPU": 1.0}) == 1


def test_too_few_spectra_are_refused(tmp_path, small_grid):
    from distspec.store.store import StoreConfig

    store = create_store(store_url(str(tmp_path)), StoreConfig(small_grid, 1500.0, -2.0))
    append(store, batch_of(3, small_grid.n_pixels, np.random.default_rng(0)), identity_of(3))
    with pytest.raises(ValueError, match="training needs 2 a worker"):
        train(str(tmp_path), SMALL, TrainingConfig(workers=2), 0)
