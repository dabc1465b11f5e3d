"""Back to a model that served before, with its catalogue."""

import numpy as np
import pytest

from distspec.catalog import editions
from distspec.catalog.build import build
from distspec.catalog.runs import load_run, save_run
from distspec.io.files import get, put
from distspec.io.lease import hold
from distspec.io.paths import join, model_url, run_url
from distspec.models.registry import champion, crown
from distspec.operations.rollback import let_go, roll_back
from tests.helpers import models

CONFIG = editions.CatalogConfig(n_anomalies=10)


@pytest.fixture
def root(run, tables):
    """Two runs of two models were published; the second gave a class a new name."""
    url, store, cluster = run
    editions.publish(url, tables, "r-1", store.snapshot_id, {"n": 10})
    models.save(store, url, "m-2", seed=1)
    record, found = load_run(run_url(url, "r-1"))
    at = found["clustering"].schema.get_field_index("cluster_label")
    split = np.where((cluster == 0) & (np.arange(60) % 2 == 0), 3, cluster).astype(np.int32)
    found["clustering"] = found["clustering"].set_column(at, found["clustering"].schema.field(at), [split])
    save_run(run_url(url, "r-2"), found, record | {"run_id": "r-2", "model_id": "m-2"})
    return url, store


def published(url, store):
    """Publish the second run by the first model's latents: only names and numbers matter here."""
    record, found = load_run(run_url(url, "r-2"))
    save_run(run_url(url, "r-2"), found, record | {"model_id": "m-1"})
    made = build(url, "r-2", store, CONFIG)
    save_run(run_url(url, "r-2"), found, record)
    editions.publish(url, made, "r-2", store.snapshot_id, {"n": 10})
    with hold(url, "train") as lease:
        crown(url, lease, "m-1", "first")
        crown(url, lease, "m-2", "better")
    return made


def test_the_old_model_serves_at_once_with_its_catalogue(root):
    url, store = root
    first = editions.current(url)
    made = published(url, store)
    with hold(url, "rollback") as lease:
        record = roll_back(url, "m-1", "ann", lease)
    assert champion(url).model_id == "m-1"
    assert champion(url).held == "rolled back by ann"
    assert editions.current(url) == record
    assert record["run_id"] == "r-1"
    assert record["edition"] != first["edition"]
    assert {name: file for name, file in record["files"].items() if name != "class_ids"} == {
        name: file for name, file in first["files"].items() if name != "class_ids"
    }
    ids = editions.open_tables(url)["class_ids"].to_table()
    both = set(zip(*(ids[name].to_pylist() for name in ("class_id", "run_id")), strict=True))
    assert len(both) == len(ids)
    later = set(made["class_ids"]["class_id"].to_pylist())
    assert {name for name, _ in both} == later, "names given since are not given again"
    assert len(later) == 4


def test_what_is_published_again_is_built_upon(root):
    """The next run names its classes after the old ones, and gives no name that was given since."""
    url, store = root
    published(url, store)
    with hold(url, "rollback") as lease:
        roll_back(url, "m-1", "ann", lease)
    record, found = load_run(run_url(url, "r-2"))
    save_run(run_url(url, "r-3"), found, record | {"run_id": "r-3", "model_id": "m-1"})
    third = build(url, "r-3", store, CONFIG)
    names = set(third["classes"]["class_id"].to_pylist()) - {None}
    assert "c-0005" in names
    assert "c-0004" not in names


def test_twice_is_once(root):
    url, store = root
    published(url, store)
    for _ in range(2):
        with hold(url, "rollback") as lease:
            record = roll_back(url, "m-1", "ann", lease)
    assert len(editions.editions(url)) == 3
    assert editions.current(url) == record


def test_it_stays_until_it_is_let_go(root):
    url, store = root
    published(url, store)
    with hold(url, "rollback") as lease:
        roll_back(url, "m-1", "ann", lease)
        assert let_go(url, "bob", lease) == "m-1"
    assert (champion(url).held, champion(url).why) == ("", "let go by bob")


def test_a_model_without_a_catalogue_serves_all_the_same(root):
    url, store = root
    before = editions.current(url)
    models.save(store, url, "m-3", seed=2)
    with hold(url, "rollback") as lease:
        assert roll_back(url, "m-3", "ann", lease) is None
    assert champion(url).model_id == "m-3"
    assert editions.current(url) == before


def test_what_is_not_there_or_damaged_never_serves(root):
    url, store = root
    published(url, store)
    weights = join(model_url(url, "m-1"), "weights.safetensors")
    put(weights, get(weights)[:-1])
    for name, error, words in (("m-9", FileNotFoundError, "m-9"), ("m-1", ValueError, "vouches for")):
        with hold(url, "rollback") as lease, pytest.raises(error, match=words):
            roll_back(url, name, "ann", lease)
    assert champion(url).model_id == "m-2"


def test_where_nothing_serves_nothing_is_let_go(tmp_path):
    with hold(str(tmp_path), "rollback") as lease, pytest.raises(FileNotFoundError, match=r"jobs\.pipeline"):
        let_go(str(tmp_path), "ann", lease)
