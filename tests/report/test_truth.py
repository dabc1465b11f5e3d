import numpy as np
import pytest

from distspec.report.truth import score_anomalies, score_labels


def test_perfect_labels_score_one_and_chance_scores_nothing(rng):
    truth = np.repeat(["a", "b", "c"], 60).tolist()
    for row in score_labels([ord(name) for name in truth], truth, rng):
        assert row["value"] == pytest.approx(1.0)
        assert row["null_p50"] <= row["null_p95"] < 0.1
    shuffled = rng.integers(0, 3, 180).tolist()
    ari, _ = score_labels(shuffled, truth, rng)
    assert abs(ari["value"]) < 0.1


def test_recall_of_oddities_and_its_null():
    n = 1000
    types = np.array([""] * n, dtype=object)
    types[:5] = "quasar"
    types[5:10] = "blend"
    types[10:14] = "artefact_spike"
    rank = np.arange(1, n + 1)
    result = score_anomalies(rank, types.tolist())
    one, five = result["oddities"]
    assert (one["selected"], one["recall"], one["null"]) == ("top 1 %", 1.0, 0.01)
    assert (five["recall"], five["null"], five["artefacts"], five["n_oddities"]) == (1.0, 0.05, 4, 10)
    assert 0.01 <= one["null_p95"] < 0.3
    by_type = {row["type"]: row for row in result["by_type"]}
    assert by_type["quasar"]["recall"] == {"top 1 %": 1.0, "top 5 %": 1.0}
    assert by_type["artefact_spike"]["n"] == 4
    worst = score_anomalies(rank[::-1], types.tolist())["oddities"]
    assert [row["recall"] for row in worst] == [0.0, 0.0]


def test_the_null_is_what_a_random_order_finds(rng):
    types = [""] * 180 + ["quasar"] * 20
    recalls = [score_anomalies(rng.permutation(200), types)["oddities"][1]["recall"] for _ in range(400)]
    row = score_anomalies(rng.permutation(200), types)["oddities"][1]
    assert np.mean(recalls) == pytest.approx(row["null"], abs=0.01)
    assert np.mean(np.array(recalls) <= row["null_p95"]) >= 0.95


def test_artefacts_alone_are_no_oddities():
    result = score_anomalies(np.arange(1, 51), [""] * 49 + ["artefact_edge"])
    assert all(np.isnan(row["recall"]) and row["n_oddities"] == 0 for row in result["oddities"])
