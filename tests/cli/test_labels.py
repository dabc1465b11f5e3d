"""The verbs label, labels and classify, on a small published root."""

from dataclasses import replace

import numpy as np
import pyarrow.compute as pc
import pytest

from distspec.catalog import editions, queries
from distspec.catalog.build import build_tables
from distspec.catalog.config import CatalogConfig
from distspec.catalog.runs import load_run, save_run
from distspec.core.errors import CatalogError
from distspec.io.files import read_json, write_json
from distspec.io.paths import run_url
from distspec.labels import annotations


@pytest.fixture
def root(run, tables):
    url, store, _ = run
    editions.publish(url, tables, "r-1", store.snapshot_id, {"labels": ""})
    return url


@pytest.fixture
def command(root, distspec):
    return distspec.at(root)


def table(root, name):
    found = editions.open_tables(root)[name].to_table()
    return found.sort_by("store_row") if name == "objects" else found


def label_by_side(root):
    """Label each spectrum by the sign of its first latent, unless that is near 0."""
    objects = table(root, "objects")
    first = objects["z_mean_00"].to_numpy()
    names = objects["object_id"].to_pylist()
    return {name: "right" if x > 0 else "left" for name, x in zip(names, first, strict=True) if abs(x) > 0.1}


def write(path, rows):
    path.write_text("object_id,human_label\n" + "".join(f"{name},{label}\n" for name, label in rows))
    return str(path)


def test_labels_are_imported_and_classified(root, command, tmp_path):
    truth = label_by_side(root)
    given = [*list(truth.items())[:30], ("nobody", "left")]
    file = write(tmp_path / "labels.csv", given)
    command.fails("label", file, "--who", "ann", match=r"line 32: 'nobody'; nothing was added", status=1)
    assert len(annotations.read_annotations(root)) == 0
    output = command("label", file, "--who", "ann", "--skip-unknown")
    assert "30 labels added" in output
    assert "line 32: 'nobody'" in output
    blank = write(tmp_path / "blank.csv", [(given[0][0], ""), (given[1][0], " "), given[2]])
    output = command("label", blank, "--who", "ann")
    assert "0 labels added" in output
    assert "1 unchanged" in output
    assert "2 rows without a label do nothing (--retract" in output
    assert len(annotations.read_annotations(root)) == 30
    annotations.add_annotations(root, [annotations.Annotation(given[0][0], "neither", "bob")])
    output = command("labels", "--compact")
    assert "31 rows in one file" in output
    assert f"{given[0][0]}  " in output
    assert " or " in output, "two people label the first differently"
    before = editions.read_current_record(root)
    output = command("classify")
    assert "enough" in output
    assert "The most useful spectra to label next" in output
    after = editions.read_current_record(root)
    assert {name: after.files[name] for name in before.files} == before.files
    predictions = table(root, "predictions")
    assert set(predictions["object_id"].to_pylist()) == set(table(root, "objects")["object_id"].to_pylist())
    right = [
        row["label"] == truth[row["object_id"]]
        for row in predictions.to_pylist()
        if row["human_label"] is None and row["object_id"] in truth
    ]
    assert np.mean(right) > 0.85
    both = predictions["p_left"].to_numpy() + predictions["p_right"].to_numpy()
    assert np.allclose(both, 1.0, atol=1e-5)
    suggested = predictions.filter(pc.is_valid(predictions["suggestion_rank"]))
    assert suggested["human_label"].null_count == len(suggested)
    scores = {row["human_label"]: row for row in table(root, "label_scores").to_pylist()}
    assert scores["left"]["n_sources"] + scores["right"]["n_sources"] == 29
    assert scores["left"]["n_needed"] == 9
    printed = command("query", "SELECT count(*) AS n FROM predictions JOIN objects USING (object_id)")
    assert printed.split()[-1] == "60"
    assert "labels of 2 spectra withdrawn" in command("label", blank, "--who", "ann", "--retract")
    assert len(annotations.current_annotations(annotations.read_annotations(root))) == 29


def test_number_of_missing_labels_is_reported(root, command, tmp_path):
    truth = label_by_side(root)
    left = [(name, label) for name, label in truth.items() if label == "left"]
    right = [(name, label) for name, label in truth.items() if label == "right"]
    command.fails("classify", match=r"distspec label", status=1)
    assert "no labels yet: `distspec label FILE`" in command("labels")
    assert "no labels yet" in command("labels", "--history")
    assert "no marks yet" in command("labels", "--marks")
    match = "no table predictions yet, because there are no labels that can be learned: .*distspec label FILE"
    command.fails("query", "SELECT * FROM predictions", match=match, status=1)
    command.fails(
        "query", "SELECT * FROM Labels", match="error: no labels yet: .*`distspec label FILE`", status=1
    )
    with pytest.raises(CatalogError, match="no labels yet: add some"):
        queries.query(root, "SELECT count(*) FROM objects JOIN labels USING (object_id)")
    assert queries.query(root, "WITH labels AS (SELECT 1 AS n) FROM labels")["n"].to_pylist() == [1]
    command("label", write(tmp_path / "a.csv", left[:4]))
    command.fails("query", "FROM labels", match="`distspec labels --history` lists the labels", status=1)
    assert "no other label can be learned" in command("classify")
    assert "predictions" not in editions.open_tables(root)
    command("label", write(tmp_path / "b.csv", [*right[:10], (right[10][0], "rare")]))
    output = command("classify")
    assert "for lack of sources: label 5 more" in output
    assert "too few sources to learn from: label 1 more" in output
    held = table(root, "predictions")["label_set"].to_pylist()
    assert all("left" in label_set for label_set in held)
    assert not all("right" in label_set for label_set in held)
    command.fails("classify", "--alpha", "1.5", match=r"between 0 and 1", status=2)


def test_catalog_contains_consensus_labels_and_class_names(run, tables, root):
    _, store, _ = run
    ids = table(root, "objects")["object_id"].to_pylist()
    annotations.add_annotations(root, [annotations.Annotation(name, "LRD", "ann") for name in ids[:5]])
    annotations.add_annotations(root, [annotations.Annotation(ids[40], "merger", "ann")])
    built = build_tables(root, "r-1", store, CatalogConfig(n_anomalies=10))
    objects = built["objects"].to_pylist()
    assert [row["human_label"] for row in objects[:6]] == ["LRD"] * 5 + [None]
    names = {row["class_id"]: row["class_name"] for row in built["classes"].to_pylist()}
    assert names == {"c-0001": "LRD", "c-0002": "unknown", "c-0003": "unknown", None: None}
    assert objects[0]["class_name"] == "LRD"
    assert objects[59]["class_id"] is objects[59]["class_name"] is None
    assert built["label_scores"]["human_label"].to_pylist() == ["LRD", "merger"]


def test_class_ids_continue_in_the_next_run(run, tables, root):
    """The same classes in another order, under another run's name; then the first run again."""
    url, store, cluster = run
    record, found = load_run(run_url(url, "r-1"))
    order = np.array([2, 0, 1, -1], np.int32)
    at = found["clustering"].schema.get_field_index("cluster_label")
    field = found["clustering"].schema.field(at)
    found["clustering"] = found["clustering"].set_column(at, field, [order[cluster]])
    save_run(run_url(url, "r-2"), found, replace(record, run_id="r-2"))
    first = table(url, "objects")
    second = build_tables(url, "r-2", store, CatalogConfig(n_anomalies=10))
    assert second["objects"]["class_id"].equals(first["class_id"])
    assert second["objects"]["previous_class_id"].equals(first["class_id"])
    assert second["changes"]["change"].to_pylist() == ["kept"] * 3
    editions.publish(url, second, "r-2", store.snapshot_id, {})
    rebuilt = build_tables(url, "r-2", store, CatalogConfig(n_anomalies=20))
    for name in ("changes", "class_ids"):
        assert rebuilt[name].equals(second[name]), name
    assert rebuilt["classes"]["change"].equals(second["classes"]["change"])
    assert rebuilt["objects"]["previous_class_id"].equals(first["class_id"])
    again = build_tables(url, "r-1", store, CatalogConfig(n_anomalies=10))
    assert again["objects"]["class_id"].equals(first["class_id"])
    assert sorted(again["class_ids"]["run_id"].to_pylist()) == ["r-1"] * 3 + ["r-2"] * 3


def test_catalog_without_class_ids_is_accepted(run, root):
    url, store, _ = run
    url_of_record = f"{url}/catalog/current.json"
    old = read_json(url_of_record)
    for name in ("class_ids", "changes"):
        del old["files"][name]
    write_json(url_of_record, old)
    built = build_tables(url, "r-1", store, CatalogConfig())
    assert set(built["changes"]["change"].to_pylist()) == {"new"}
