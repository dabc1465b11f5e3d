import numpy as np
import pyarrow as pa
import pytest

import distspec
from distspec.inference.rerank import rerank_anomalies
from distspec.labels.annotations import Annotation, add_annotations, read_marks
from distspec.report.data import compute_discovery_curve
from tests.helpers.plane import publish


@pytest.fixture
def names(tmp_path, rng):
    score = np.linspace(5.0, 0.0, 200)
    return publish(tmp_path, rng.normal(size=(200, 3)).astype(np.float32), score)


def test_without_marks_it_is_the_runs_own_order(tmp_path, names):
    found = distspec.rerank_anomalies(str(tmp_path))
    assert found["object_id"].to_pylist() == names
    assert found["feedback_rank"].to_pylist() == found["anomaly_rank"].to_pylist()
    assert set(found["mark"].to_pylist()) == {""}


def test_people_who_differ_are_counted(tmp_path):
    root = str(tmp_path)
    add_annotations(
        root,
        [
            Annotation("a", "interesting", "ann"),
            Annotation("b", "ordinary", "ann"),
            Annotation("c", "LRD", "ann"),
        ],
    )
    add_annotations(
        root,
        [
            Annotation("a", "ordinary", "bob"),
            Annotation("b", "ordinary", "bob"),
            Annotation("b", "interesting", "cat"),
        ],
    )
    assert read_marks(root) == {"a": True, "b": False}


def test_marks_change_the_order_and_stand_beside_it(tmp_path, names):
    pytest.importorskip("coniferest", reason="needs distspec[feedback]")
    said = [Annotation(name, "ordinary", "ann") for name in names[:9]] + [
        Annotation(names[60], "interesting", "ann")
    ]
    add_annotations(str(tmp_path), [*said, Annotation("of another run", "interesting", "ann")])
    found = rerank_anomalies(str(tmp_path))
    marks = dict(zip(found["object_id"].to_pylist(), found["mark"].to_pylist(), strict=True))
    assert marks[names[60]] == "interesting"
    assert [name for name in names if marks[name] == "ordinary"] == names[:9]
    assert found["object_id"].to_pylist() != names
    assert sorted(found["feedback_rank"].to_pylist()) == [*range(1, 201)]


def test_progress_is_of_spectra_that_the_run_has(tmp_path, names):
    objects = pa.table({"object_id": names, "anomaly_rank": np.arange(1, 201)})
    assert compute_discovery_curve(str(tmp_path), objects) is None
    add_annotations(
        str(tmp_path),
        [
            Annotation(names[5], "interesting"),
            Annotation(names[0], "ordinary"),
            Annotation("gone", "ordinary"),
        ],
    )
    found = compute_discovery_curve(str(tmp_path), objects)
    assert found is not None
    assert (found.n_found.tolist(), found.n_found_by_rank.tolist(), found.n_unmarked_by_rank.tolist()) == (
        [0, 1, 1],
        [0, 0, 0],
        [0, 0, 1],
    )
