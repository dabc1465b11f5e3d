"""Anomalies of a published run, re-ranked by marks."""

import numpy as np
import pyarrow as pa
import pytest

from distspec.inference.rerank import rerank_anomalies
from distspec.labels.annotations import Annotation, add_annotations
from distspec.report.collect import compute_discovery_curve
from tests.helpers.plane import publish


@pytest.fixture
def names(tmp_path, rng):
    score = np.linspace(5.0, 0.0, 200)
    return publish(tmp_path, rng.normal(size=(200, 3)).astype(np.float32), score)


def test_without_marks_the_order_is_that_of_the_run(tmp_path, names):
    table = rerank_anomalies(str(tmp_path))
    assert table["object_id"].to_pylist() == names
    assert table["feedback_rank"].to_pylist() == table["anomaly_rank"].to_pylist()
    assert set(table["mark"].to_pylist()) == {""}


def test_marks_change_the_order_and_are_columns_of_the_result(tmp_path, names):
    pytest.importorskip("coniferest", reason="needs distspec[feedback]")
    marks = [Annotation(name, "ordinary", "ann") for name in names[:9]]
    marks.append(Annotation(names[60], "interesting", "ann"))
    marks.append(Annotation("of another run", "interesting", "ann"))
    add_annotations(str(tmp_path), marks)
    table = rerank_anomalies(str(tmp_path))
    mark_by_id = dict(zip(table["object_id"].to_pylist(), table["mark"].to_pylist(), strict=True))
    assert mark_by_id[names[60]] == "interesting"
    assert [name for name in names if mark_by_id[name] == "ordinary"] == names[:9]
    assert table["object_id"].to_pylist() != names
    assert sorted(table["feedback_rank"].to_pylist()) == [*range(1, 201)]


def test_the_discovery_curve_counts_spectra_of_the_run(tmp_path, names):
    objects = pa.table({"object_id": names, "anomaly_rank": np.arange(1, 201)})
    assert compute_discovery_curve(str(tmp_path), objects) is None
    marks = [(names[5], "interesting"), (names[0], "ordinary"), ("of another run", "ordinary")]
    add_annotations(str(tmp_path), [Annotation(name, mark) for name, mark in marks])
    curve = compute_discovery_curve(str(tmp_path), objects)
    assert curve is not None
    assert curve.n_found.tolist() == [0, 1, 1]
    assert curve.n_found_by_rank.tolist() == [0, 0, 0]
    assert curve.n_unmarked_by_rank.tolist() == [0, 0, 1]
