"""Differences of a reproduction are described; `test_runner` reproduces a whole run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from distspec.catalog.runs import load_run, save_run
from distspec.core.errors import ConfigError, NotFoundError, StoreError
from distspec.core.records import add_checksum, collect_versions
from distspec.io.paths import model_url, run_url
from distspec.pipeline.reproduce import VersionChange, compare_tables, find_version_changes, reproduce
from tests.helpers import models


@pytest.fixture
def clustering(run):
    return load_run(run_url(run[0], "r-1"))[1]["clustering"]


def changed(table, name, row, value):
    at, values = table.schema.get_field_index(name), table[name].to_pylist()
    values[row] = value
    return table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))


def test_equal_tables_have_no_differences(clustering):
    assert list(compare_tables("clustering", clustering, clustering)) == []
    nan = changed(clustering, "umap_0", 3, float("nan"))
    assert list(compare_tables("clustering", nan, nan)) == []


def test_every_difference_is_described(clustering):
    name = clustering["object_id"][4].as_py()
    value = clustering["umap_0"][3].as_py()
    cases = {
        ("cluster_label", 2, 9): "clustering: cluster_label differs in 1 rows",
        ("object_id", 4, f"{name}x"): "clustering: object_id differs in 1 rows",
        (
            "umap_0",
            3,
            np.float32(value) + np.float32(0.5),
        ): "clustering: umap_0 differs in 1 rows, by up to 0.5",
        ("umap_0", 3, float("nan")): "clustering: umap_0 differs in 1 rows, by up to nan",
    }
    for (column, row, other), message in cases.items():
        assert list(compare_tables("clustering", clustering, changed(clustering, column, row, other))) == [
            message
        ]
    assert list(compare_tables("clustering", clustering, clustering.slice(1))) == [
        "clustering has 59 rows, the original has 60"
    ]
    assert list(compare_tables("clustering", clustering, clustering.drop_columns("umap_1"))) == [
        "clustering has no column umap_1"
    ]


def test_times_are_not_compared(run):
    sweep = load_run(run_url(run[0], "r-1"))[1]["sweep"]
    assert "seconds" in sweep.column_names
    row = {name: [None] for name in sweep.column_names}
    one, two = (pa.table({**row, "seconds": [s]}, schema=sweep.schema) for s in (1.0, 2.0))
    assert list(compare_tables("sweep", one, two)) == []


def test_changed_versions_are_listed(run):
    root, store, _ = run
    assert find_version_changes(root, "r-1") == ()
    record, found = load_run(run_url(root, "r-1"))
    save_run(run_url(root, "r-2"), found, replace(record, versions={**collect_versions(), "torch": "1.0"}))
    assert find_version_changes(root, "r-2") == (VersionChange("torch", "1.0", collect_versions()["torch"]),)
    models.save(store, root, "m-2", versions={"distspec": "0.0.1"})
    changes = {change.package: change for change in find_version_changes(root, "m-2")}
    assert changes["distspec"].recorded == "0.0.1"
    assert changes["torch"].recorded == "none"


def test_an_unknown_id_is_refused(run, tmp_path):
    root, _, _ = run
    with pytest.raises(NotFoundError, match="no run r-9"):
        reproduce(root, "r-9", str(tmp_path / "new"))
    with pytest.raises(NotFoundError, match="no model at"):
        reproduce(root, "m-9", str(tmp_path / "new"))


def test_unknown_settings_are_refused(run, tmp_path):
    root, _, _ = run
    path = Path(model_url(root, "m-1"), "model.json")
    record = json.loads(path.read_bytes())
    del record["checksum"]
    record["training"]["warp"] = 9
    path.write_text(json.dumps(add_checksum(record)))
    with pytest.raises(
        ConfigError, match=r"m-1/model\.json sets warp, which this version of distspec does not know"
    ):
        reproduce(root, "m-1", str(tmp_path / "new"))


def test_an_existing_store_is_not_overwritten(run):
    root, _, _ = run
    with pytest.raises(StoreError, match="name a new root"):
        reproduce(root, "m-1", root)
