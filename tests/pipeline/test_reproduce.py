"""What came out otherwise is said; that nothing does is shown on a whole pipeline in `test_pipeline`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from distspec.catalog.runs import load_run, save_run
from distspec.core.errors import StoreError
from distspec.core.records import add_checksum, collect_versions
from distspec.io.paths import model_url, run_url
from distspec.pipeline.reproduce import compare_tables, find_version_changes, reproduce
from tests.helpers import models


@pytest.fixture
def clustering(run):
    return load_run(run_url(run[0], "r-1"))[1]["clustering"]


def changed(table, name, row, value):
    at, values = table.schema.get_field_index(name), table[name].to_pylist()
    values[row] = value
    return table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))


def test_the_same_table_does_not_differ(clustering):
    assert list(compare_tables("clustering", clustering, clustering)) == []
    nan = changed(clustering, "umap_0", 3, float("nan"))
    assert list(compare_tables("clustering", nan, nan)) == []


def test_whatever_differs_is_said(clustering):
    name = clustering["object_id"][4].as_py()
    value = clustering["umap_0"][3].as_py()
    cases = {
        ("cluster_label", 2, 9): "clustering: cluster_label of 1 rows differs",
        ("object_id", 4, f"{name}x"): "clustering: object_id of 1 rows differs",
        (
            "umap_0",
            3,
            np.float32(value) + np.float32(0.5),
        ): "clustering: umap_0 of 1 rows differs, by up to 0.5",
        ("umap_0", 3, float("nan")): "clustering: umap_0 of 1 rows differs, by up to nan",
    }
    for (column, row, other), said in cases.items():
        assert list(compare_tables("clustering", clustering, changed(clustering, column, row, other))) == [
            said
        ]
    assert list(compare_tables("clustering", clustering, clustering.slice(1))) == [
        "clustering has 59 rows, it had 60"
    ]
    assert list(compare_tables("clustering", clustering, clustering.drop_columns("umap_1"))) == [
        "clustering has no umap_1 any more"
    ]


def test_times_are_never_the_same(run):
    sweep = load_run(run_url(run[0], "r-1"))[1]["sweep"]
    assert "seconds" in sweep.column_names
    row = {name: [None] for name in sweep.column_names}
    one, two = (pa.table({**row, "seconds": [s]}, schema=sweep.schema) for s in (1.0, 2.0))
    assert list(compare_tables("sweep", one, two)) == []


def test_what_made_it_and_is_newer_here_is_said(run):
    root, store, _ = run
    assert find_version_changes(root, "r-1") == {}
    record, found = load_run(run_url(root, "r-1"))
    save_run(run_url(root, "r-2"), found, replace(record, versions={**collect_versions(), "torch": "1.0"}))
    assert find_version_changes(root, "r-2") == {"torch": ("1.0", collect_versions()["torch"])}
    models.save(store, root, "m-2", versions={"distspec": "0.0.1"})
    assert find_version_changes(root, "m-2")["distspec"] == ("0.0.1", collect_versions()["distspec"])


def test_a_name_that_is_none_is_refused(run, tmp_path):
    root, _, _ = run
    with pytest.raises(FileNotFoundError, match="no run r-9"):
        reproduce(root, "r-9", str(tmp_path / "new"))
    with pytest.raises(FileNotFoundError, match="no model at"):
        reproduce(root, "m-9", str(tmp_path / "new"))


def test_settings_of_a_newer_distspec_are_refused(run, tmp_path):
    root, _, _ = run
    path = Path(model_url(root, "m-1"), "model.json")
    record = json.loads(path.read_bytes())
    del record["checksum"]
    record["training"]["warp"] = 9
    path.write_text(json.dumps(add_checksum(record)))
    with pytest.raises(ValueError, match=r"m-1/model\.json sets warp, which this distspec does not know"):
        reproduce(root, "m-1", str(tmp_path / "new"))


def test_a_root_that_holds_a_store_is_not_overwritten(run):
    root, _, _ = run
    with pytest.raises(StoreError, match="name a new root"):
        reproduce(root, "m-1", root)
