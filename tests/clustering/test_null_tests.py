import numpy as np
import pytest

from distspec.clustering.null_tests import draw_null_data, run_null_test
from distspec.clustering.plan import DatasetSpec


def test_draws_are_like_the_sample_without_its_structure(rng):
    x = np.vstack([rng.normal(-4, 1, (300, 3)), rng.normal(4, 1, (300, 3))]) * [1.0, 2.0, 3.0]
    gaussian, permuted = (draw_null_data(x, DatasetSpec(kind, 0), 0) for kind in ("gaussian", "permuted"))
    assert draw_null_data(x, DatasetSpec(), 0) is x
    assert np.allclose(np.cov(gaussian.T), np.cov(x.T), rtol=0.25)
    assert abs(np.median(np.abs(gaussian[:, 0])) - np.median(np.abs(x[:, 0]))) > 1.0, "no two groups"
    assert np.array_equal(np.sort(permuted, axis=0), np.sort(x, axis=0))
    assert abs(np.corrcoef(permuted.T)[0, 1]) < 0.2 < np.corrcoef(x.T)[0, 1]
    again = draw_null_data(x, DatasetSpec("gaussian", 0), 0)
    assert np.array_equal(gaussian, again)
    assert not np.array_equal(gaussian, draw_null_data(x, DatasetSpec("gaussian", 1), 0))


def test_a_constant_column_has_no_structure_either():
    x = np.column_stack([np.arange(9.0), np.ones(9)])
    assert np.isfinite(draw_null_data(x, DatasetSpec("gaussian", 0), 0)).all()


@pytest.mark.parametrize("families", [lambda way: None, lambda way: way % 3])
@pytest.mark.parametrize("n_draws", [19, 99])
def test_false_alarms_are_as_rare_as_asked_for(rng, n_draws, families):
    level, n_ways, n_runs = 0.05, 30, 200
    alarms = 0
    for _ in range(n_runs):
        shared = rng.normal(size=(n_draws + 1, 1))
        scores = 0.5 * shared + rng.normal(size=(n_draws + 1, n_ways))
        own = dict(enumerate(scores[-1]))
        drawn = {"gaussian": {way: scores[:-1, way].tolist() for way in range(n_ways)}}
        alarms += min(run_null_test(own, drawn, families).p_value.values()) <= level
    assert alarms / n_runs < 2 * level


def test_what_is_there_is_seen(rng):
    drawn = {kind: {"way": rng.normal(0.2, 0.02, 19).tolist()} for kind in ("gaussian", "permuted")}
    found = run_null_test({"way": 0.5}, drawn)
    assert found.percentile["way"] == 1.0
    assert found.p_value["way"] < 0.001
    assert run_null_test({"way": 0.2}, drawn).p_value["way"] > 0.2


def test_a_family_that_leaps_hides_no_other(rng):
    """Where one algorithm finds nothing but, in one draw, something, that says nothing of the others."""
    steady, leaping = rng.normal(0.1, 0.01, (2, 19))
    leaping = np.where(np.arange(19) < 1, 0.6, 0.0)
    drawn = {"gaussian": {"steady": steady.tolist(), "leaping": leaping.tolist()}}
    own = {"steady": 0.3, "leaping": 0.0}
    apart, together = run_null_test(own, drawn, lambda name: name), run_null_test(own, drawn)
    assert apart.p_value["steady"] < 0.005 < together.p_value["steady"]


def test_the_stricter_null_counts():
    drawn = {"gaussian": {"way": [0.1, 0.2, 0.3]}, "permuted": {"way": [0.6, 0.7, 0.8]}}
    found = run_null_test({"way": 0.5}, drawn)
    assert found.percentile["way"] == 0.0
    assert found.null_mean["way"] == pytest.approx(0.7)
    assert run_null_test({"way": 0.5}, {}) is None
