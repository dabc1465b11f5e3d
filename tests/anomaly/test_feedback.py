"""Re-ranking by marks, and the curve of discoveries."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distspec.anomaly import score
from distspec.anomaly.feedback import (
    INTERESTING,
    ORDINARY,
    PARTIAL_SCORES,
    DiscoveryCurve,
    rescore_with_marks,
)
from distspec.core.errors import LabelError


@pytest.fixture
def sample(rng):
    """600 ordinary spectra, and two groups of 20 equally anomalous ones in different directions."""
    latents = rng.normal(size=(640, 3))
    latents[600:620, 0] += 8.0
    latents[620:, 1] += 8.0
    own_score = rng.random(640)
    own_score[600:] += 1.0
    return dict.fromkeys(PARTIAL_SCORES, own_score), latents.astype(np.float32), own_score


def test_the_partial_scores_are_those_of_the_schema():
    assert tuple(score.PARTIAL_SCORES) == PARTIAL_SCORES


def test_without_marks_the_order_is_that_of_the_run_and_needs_no_coniferest(sample, monkeypatch):
    monkeypatch.setitem(sys.modules, "coniferest.aadforest", None)
    partial_scores, latents, own_score = sample
    scores = rescore_with_marks(partial_scores, latents, own_score, np.zeros(640, np.int8), 0)
    assert np.array_equal(np.argsort(-scores), np.argsort(-own_score))


def test_without_coniferest_the_error_says_how_to_install_it(sample, monkeypatch):
    monkeypatch.setitem(sys.modules, "coniferest.aadforest", None)
    partial_scores, latents, own_score = sample
    marks = np.zeros(640, np.int8)
    marks[0] = ORDINARY
    with pytest.raises(LabelError, match=r"pip install 'distspec\[feedback\]'"):
        rescore_with_marks(partial_scores, latents, own_score, marks, 0)


@pytest.mark.parametrize(("interesting", "ordinary"), [(600, 620), (620, 600)])
def test_the_group_that_is_marked_interesting_comes_first(sample, interesting, ordinary):
    pytest.importorskip("coniferest", reason="needs distspec[feedback]")
    partial_scores, latents, own_score = sample
    marks = np.zeros(640, np.int8)
    marks[interesting : interesting + 5], marks[ordinary : ordinary + 5] = INTERESTING, ORDINARY
    scores = rescore_with_marks(partial_scores, latents, own_score, marks, 0)
    again = rescore_with_marks(partial_scores, latents, own_score, marks, 0)
    assert np.array_equal(scores, again), "the same seed gives the same scores"
    unmarked = slice(5, 20)
    wanted = scores[interesting : interesting + 20][unmarked]
    unwanted = scores[ordinary : ordinary + 20][unmarked]
    assert (wanted[:, None] > unwanted).mean() > 0.9


@settings(max_examples=60)
@given(st.lists(st.booleans(), min_size=1, max_size=40), st.randoms())
def test_a_discovery_curve_counts_marked_spectra(interesting, random):
    ranks = np.array(random.sample(range(1, 100), len(interesting)))
    is_interesting = np.array(interesting)
    curve = DiscoveryCurve.from_marks(is_interesting, ranks)
    assert curve.n_found[-1] == is_interesting.sum()
    for n_marks in range(len(interesting) + 1):
        is_shown = ranks <= n_marks
        assert curve.n_found[n_marks] == is_interesting[:n_marks].sum()
        assert curve.n_found_by_rank[n_marks] == (is_interesting & is_shown).sum()
        assert curve.n_unmarked_by_rank[n_marks] == n_marks - is_shown.sum() >= 0
