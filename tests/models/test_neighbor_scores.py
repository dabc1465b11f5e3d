"""Scores of predictions from neighbors, on spaces that hold a property, or do not."""

import numpy as np
import pytest

from distspec.models import neighbor_scores as scores

N = 300


@pytest.fixture
def space(rng):
    return rng.normal(size=(N, 3))


def test_neighbors_are_other_points(space):
    neighbors = scores.find_neighbors(space)
    assert neighbors.shape == (N, scores.N_NEIGHBORS)
    assert not (neighbors == np.arange(N)[:, None]).any()


def test_a_property_of_the_space_is_found(space, rng):
    neighbors = scores.find_neighbors(space)
    number = scores.score_number(neighbors, space[:, 0], rng)
    category = scores.score_category(neighbors, np.where(space[:, 1] > 0, "a", "b"), rng)
    for found in (number, category):
        assert found.score > 0.7
        assert found.p_value == pytest.approx(1 / (scores.N_PERMUTATIONS + 1))
    assert number.null_mean == pytest.approx(-1 / scores.N_NEIGHBORS, abs=0.03)
    assert category.null_mean == pytest.approx(0.5, abs=0.05)
    assert category.skill == pytest.approx((category.score - category.null_mean) / (1 - category.null_mean))


def test_what_the_space_does_not_hold_has_no_skill(space, rng):
    neighbors = scores.find_neighbors(space)
    programs = rng.choice(["a", "b", "c"], N, p=[0.7, 0.2, 0.1])
    for found in (
        scores.score_number(neighbors, rng.normal(size=N), rng),
        scores.score_category(neighbors, programs, rng),
    ):
        assert abs(found.score - found.null_mean) < 4 * found.null_std
        assert abs(found.skill) < 0.2


def test_programs_that_differ_in_redshift_alone_agree_with_the_matched_null(space, rng):
    """The space holds the redshift; the program depends on the redshift alone."""
    z = space[:, 0]
    programs = np.where(rng.random(N) < 0.5 + 0.4 * np.sign(z), "deep", "wide")
    neighbors = scores.find_neighbors(space)
    plain = scores.score_category(neighbors, programs, rng)
    matched = scores.score_category(neighbors, programs, rng, scores.divide_into_strata([z], 4))
    assert plain.score == matched.score
    assert plain.score > plain.null_mean + 5 * plain.null_std
    assert matched.score < matched.null_mean + 3 * matched.null_std


def test_values_stay_in_their_stratum(rng):
    strata = np.array([2, 0, 0, 1, 2, 0])
    for _ in range(20):
        order = scores._permute(6, strata, rng)
        assert sorted(order) == list(range(6))
        assert np.array_equal(strata[order], strata)


def test_each_source_is_sampled_once(rng, monkeypatch):
    sources = ["a", "b", "a", "c", "b", "d"]
    rows = scores.sample_sources(sources, rng)
    assert sorted(sources[i] for i in rows) == ["a", "b", "c", "d"]
    assert set(np.concatenate([scores.sample_sources(sources, rng) for _ in range(40)])) == set(range(6))
    monkeypatch.setattr(scores, "MAX_SAMPLE_SIZE", 3)
    assert len(scores.sample_sources(sources, rng)) == 3


def test_rare_and_unknown_values_are_no_groups():
    values = ["a"] * 40 + ["b"] * 20 + ["rare"] * 9 + [None, ""] * 20
    assert np.array_equal(scores.select_groups(values), np.arange(60))
    assert not len(scores.select_groups(["a"] * 90 + ["b"] * 9))
    assert not len(scores.select_groups(["a"] * 20 + ["b"] * 20))


def test_agreement_is_one_with_itself_and_that_of_chance_with_another_space(space, rng):
    neighbors = scores.find_neighbors(space)
    same = scores.compare_neighbors(neighbors, scores.find_neighbors(space @ np.diag([-3.0, 3.0, 3.0])), rng)
    assert same.score == 1.0
    assert same.null_mean == pytest.approx(scores.N_NEIGHBORS / (N - 1), rel=0.1)
    other = scores.compare_neighbors(neighbors, scores.find_neighbors(rng.normal(size=(N, 3))), rng)
    assert abs(other.score - other.null_mean) < 4 * other.null_std
