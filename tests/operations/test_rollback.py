"""Rollback to an earlier model with its catalog."""

from dataclasses import replace

import numpy as np
import pytest

from distspec.catalog import editions
from distspec.catalog.build import build_tables
from distspec.catalog.config import CatalogConfig
from distspec.catalog.runs import load_run, save_run
from distspec.core.errors import ModelError, NotFoundError
from distspec.io.files import read_bytes, write_bytes
from distspec.io.lease import hold_lease
from distspec.io.paths import join_url, model_url, run_url
from distspec.models.registry import promote, read_promoted
from distspec.operations.rollback import roll_back, unpin_model
from tests.helpers import models

CONFIG = CatalogConfig(n_anomalies=10)


@pytest.fixture
def root(run, tables):
    """Runs of two models; one class of the second run is split off, and gets a new id."""
    url, store, cluster = run
    editions.publish(url, tables, "r-1", store.snapshot_id, {"n": 10})
    models.save(store, url, "m-2", seed=1)
    record, found = load_run(run_url(url, "r-1"))
    at = found["clustering"].schema.get_field_index("cluster_label")
    split = np.where((cluster == 0) & (np.arange(60) % 2 == 0), 3, cluster).astype(np.int32)
    found["clustering"] = found["clustering"].set_column(at, found["clustering"].schema.field(at), [split])
    save_run(run_url(url, "r-2"), found, replace(record, run_id="r-2", model_id="m-2"))
    return url, store


def published(url, store):
    """Publish the second run, with the latents of the first model."""
    record, found = load_run(run_url(url, "r-2"))
    save_run(run_url(url, "r-2"), found, replace(record, model_id="m-1"))
    built = build_tables(url, "r-2", store, CONFIG)
    save_run(run_url(url, "r-2"), found, record)
    editions.publish(url, built, "r-2", store.snapshot_id, {"n": 10})
    with hold_lease(url, "train") as lease:
        promote(url, lease, "m-1", "first")
        promote(url, lease, "m-2", "better")
    return built


def test_the_earlier_model_is_promoted_with_its_catalog(root):
    url, store = root
    first = editions.read_current_record(url)
    built = published(url, store)
    with hold_lease(url, "rollback") as lease:
        record = roll_back(url, "m-1", "ann", lease)
    assert read_promoted(url).model_id == "m-1"
    assert read_promoted(url).pin_reason == "rolled back by ann"
    assert editions.read_current_record(url) == record
    assert record.run_id == "r-1"
    assert record.edition != first.edition
    assert {name: file for name, file in record.files.items() if name != "class_ids"} == {
        name: file for name, file in first.files.items() if name != "class_ids"
    }
    ids = editions.open_tables(url)["class_ids"].to_table()
    both = set(zip(*(ids[name].to_pylist() for name in ("class_id", "run_id")), strict=True))
    assert len(both) == len(ids)
    later = set(built["class_ids"]["class_id"].to_pylist())
    assert {name for name, _ in both} == later, "ids given since are kept"
    assert len(later) == 4


def test_the_next_run_continues_the_class_ids(root):
    """The next run follows the classes of the republished edition, and reuses no id given since."""
    url, store = root
    published(url, store)
    with hold_lease(url, "rollback") as lease:
        roll_back(url, "m-1", "ann", lease)
    record, found = load_run(run_url(url, "r-2"))
    save_run(run_url(url, "r-3"), found, replace(record, run_id="r-3", model_id="m-1"))
    third = build_tables(url, "r-3", store, CONFIG)
    names = set(third["classes"]["class_id"].to_pylist()) - {None}
    assert "c-0005" in names
    assert "c-0004" not in names


def test_a_second_rollback_changes_nothing(root):
    url, store = root
    published(url, store)
    for _ in range(2):
        with hold_lease(url, "rollback") as lease:
            record = roll_back(url, "m-1", "ann", lease)
    assert len(editions.read_edition_records(url)) == 3
    assert editions.read_current_record(url) == record


def test_the_model_is_pinned_until_it_is_unpinned(root):
    url, store = root
    published(url, store)
    with hold_lease(url, "rollback") as lease:
        roll_back(url, "m-1", "ann", lease)
        assert unpin_model(url, "bob", lease) == "m-1"
    assert (read_promoted(url).pin_reason, read_promoted(url).reason) == ("", "unpinned by bob")


def test_a_model_without_a_catalog_is_promoted(root):
    url, store = root
    before = editions.read_current_record(url)
    models.save(store, url, "m-3", seed=2)
    with hold_lease(url, "rollback") as lease:
        assert roll_back(url, "m-3", "ann", lease) is None
    assert read_promoted(url).model_id == "m-3"
    assert editions.read_current_record(url) == before


def test_missing_and_damaged_models_are_refused(root):
    url, store = root
    published(url, store)
    weights = join_url(model_url(url, "m-1"), "weights.safetensors")
    write_bytes(weights, read_bytes(weights)[:-1])
    for name, error, words in (("m-9", NotFoundError, "m-9"), ("m-1", ModelError, "SHA-256|checksum")):
        with hold_lease(url, "rollback") as lease, pytest.raises(error, match=words):
            roll_back(url, name, "ann", lease)
    assert read_promoted(url).model_id == "m-2"


def test_without_a_promoted_model_there_is_nothing_to_unpin(tmp_path):
    with (
        hold_lease(str(tmp_path), "rollback") as lease,
        pytest.raises(NotFoundError, match="distspec run"),
    ):
        unpin_model(str(tmp_path), "ann", lease)
