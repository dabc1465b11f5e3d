import numpy as np
import pyarrow as pa
import pytest

from distspec.report.truth import score_against_truth, score_anomalies, score_labels


def test_perfect_labels_score_one_and_random_labels_zero(rng):
    truth = np.repeat(["a", "b", "c"], 60).tolist()
    for score in score_labels([ord(name) for name in truth], truth, rng):
        assert score.value == pytest.approx(1.0)
        assert score.null_p50 <= score.null_p95 < 0.1
    shuffled = rng.integers(0, 3, 180).tolist()
    ari, _ = score_labels(shuffled, truth, rng)
    assert abs(ari.value) < 0.1


def test_recall_of_anomalies():
    n = 1000
    types = np.array([""] * n, dtype=object)
    types[:5] = "quasar"
    types[5:10] = "blend"
    types[10:14] = "artefact_spike"
    rank = np.arange(1, n + 1)
    (one, five), by_type = score_anomalies(rank, types.tolist())
    assert (one.selected, one.recall, one.null_recall) == ("top 1 %", 1.0, 0.01)
    assert (five.recall, five.null_recall, five.n_bad_pixel_spectra, five.n_anomalies) == (1.0, 0.05, 4, 10)
    assert 0.01 <= one.null_p95 < 0.3
    recalls = {row.anomaly_type: row for row in by_type}
    assert recalls["quasar"].recall == {"top 1 %": 1.0, "top 5 %": 1.0}
    assert recalls["artefact_spike"].n == 4
    worst, _ = score_anomalies(rank[::-1], types.tolist())
    assert [row.recall for row in worst] == [0.0, 0.0]


def test_the_null_recall_is_that_of_a_random_order(rng):
    types = [""] * 180 + ["quasar"] * 20
    recalls = [score_anomalies(rng.permutation(200), types)[0][1].recall for _ in range(400)]
    five = score_anomalies(rng.permutation(200), types)[0][1]
    assert np.mean(recalls) == pytest.approx(five.null_recall, abs=0.01)
    assert np.mean(np.array(recalls) <= five.null_p95) >= 0.95


def test_bad_pixels_are_no_anomalies():
    recalls, _ = score_anomalies(np.arange(1, 51), [""] * 49 + ["artefact_edge"])
    assert all(np.isnan(row.recall) and row.n_anomalies == 0 for row in recalls)


def objects(n=400):
    return pa.table(
        {
            "object_id": [f"o{i}" for i in range(n)],
            "cluster_label": pa.array([i % 2 for i in range(n)], pa.int32()),
            "anomaly_rank": pa.array(range(1, n + 1), pa.int32()),
        }
    )


def truth(n=400):
    rows = range(n - 1, -1, -1)
    return pa.table(
        {
            "object_id": [f"o{i}" for i in rows],
            "truth_class": ["even" if i % 2 == 0 else "odd" for i in rows],
            "anomaly_type": ["quasar" if i < 3 else "" for i in rows],
        }
    )


def test_spectra_are_matched_with_the_truth_by_identifier():
    scores = score_against_truth(objects(), truth(), 0)
    assert scores.labels[0].value == pytest.approx(1.0)
    assert scores.anomalies[0].recall == 1.0
    assert scores.note.startswith("397 spectra of a known class, 3 known anomalies")


def test_without_truth_there_are_no_scores():
    assert score_against_truth(objects(), None, 0) is None
    assert score_against_truth(objects(), truth().slice(0, 0), 0) is None


def test_truth_without_anomalies_scores_only_the_labels():
    plain = truth().set_column(2, "anomaly_type", pa.array([""] * 400))
    scores = score_against_truth(objects(), plain, 0)
    assert scores.labels
    assert not scores.anomalies
    assert not scores.by_type
