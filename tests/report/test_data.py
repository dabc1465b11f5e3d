import numpy as np
import pyarrow as pa
import pytest

from distspec.report.data import _select_quartile_medians, score_against_truth


def objects(n=400):
    return pa.table(
        {
            "object_id": [f"o{i}" for i in range(n)],
            "cluster_label": pa.array([i % 2 for i in range(n)], pa.int32()),
            "anomaly_rank": pa.array(range(1, n + 1), pa.int32()),
        }
    )


def truth(n=400):
    return pa.table(
        {
            "object_id": [f"o{i}" for i in range(n - 1, -1, -1)],
            "truth_class": ["even" if i % 2 == 0 else "odd" for i in range(n - 1, -1, -1)],
            "anomaly_type": ["quasar" if i < 3 else "" for i in range(n - 1, -1, -1)],
        }
    )


def test_labels_meet_the_truth_by_id_not_by_place():
    scores = score_against_truth(objects(), truth(), 0)
    assert scores["labels"][0]["value"] == pytest.approx(1.0)
    assert scores["oddities"][0]["recall"] == 1.0
    assert scores["note"].startswith("397 spectra of a known class, 3 known anomalies")


def test_without_a_truth_there_are_no_scores():
    assert score_against_truth(objects(), None, 0) is None
    assert score_against_truth(objects(), truth().slice(0, 0), 0) is None


def test_a_truth_without_anomalies_scores_the_labels_alone():
    plain = truth().set_column(2, "anomaly_type", pa.array([""] * 400))
    assert score_against_truth(objects(), plain, 0).keys() == {"labels", "note"}


@pytest.mark.parametrize(("n", "expected"), [(1, 1), (2, 2), (3, 3), (4, 4), (1000, 4)])
def test_one_example_a_quartile(n, expected):
    rows = _select_quartile_medians(np.arange(n, dtype=float)[::-1])
    assert len(rows) == expected
    assert len(set(rows.tolist())) == expected
    if n == 1000:
        assert sorted(rows.tolist()) == [124, 374, 624, 874]
