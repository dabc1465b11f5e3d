import numpy as np
import pytest

from distspec.clustering.null_tests import run_null_test


@pytest.mark.parametrize("families", [lambda setting: None, lambda setting: setting % 3])
@pytest.mark.parametrize("n_draws", [19, 99])
def test_false_positive_rate_is_as_configured(rng, n_draws, families):
    alpha, n_settings, n_runs = 0.05, 30, 200
    n_false = 0
    for _ in range(n_runs):
        shared = rng.normal(size=(n_draws + 1, 1))
        scores = 0.5 * shared + rng.normal(size=(n_draws + 1, n_settings))
        own = dict(enumerate(scores[-1]))
        null_scores = {"gaussian": {setting: scores[:-1, setting].tolist() for setting in range(n_settings)}}
        n_false += min(run_null_test(own, null_scores, families).p_value.values()) <= alpha
    assert n_false / n_runs < 2 * alpha


def test_significant_scores_have_small_p_values(rng):
    null_scores = {kind: {"setting": rng.normal(0.2, 0.02, 19).tolist()} for kind in ("gaussian", "permuted")}
    test = run_null_test({"setting": 0.5}, null_scores)
    assert test.quantile["setting"] == 1.0
    assert test.p_value["setting"] < 0.001
    assert run_null_test({"setting": 0.2}, null_scores).p_value["setting"] > 0.2


def test_a_family_with_rare_large_scores_does_not_hide_others(rng):
    """An algorithm that finds clusters in one null draw only must not affect the others."""
    regular, rare = rng.normal(0.1, 0.01, (2, 19))
    rare = np.where(np.arange(19) < 1, 0.6, 0.0)
    null_scores = {"gaussian": {"regular": regular.tolist(), "rare": rare.tolist()}}
    own = {"regular": 0.3, "rare": 0.0}
    separate, joint = run_null_test(own, null_scores, lambda name: name), run_null_test(own, null_scores)
    assert separate.p_value["regular"] < 0.005 < joint.p_value["regular"]


def test_the_less_favorable_null_model_counts():
    null_scores = {"gaussian": {"setting": [0.1, 0.2, 0.3]}, "permuted": {"setting": [0.6, 0.7, 0.8]}}
    test = run_null_test({"setting": 0.5}, null_scores)
    assert test.quantile["setting"] == 0.0
    assert test.null_mean["setting"] == pytest.approx(0.7)
    assert run_null_test({"setting": 0.5}, {}) is None
