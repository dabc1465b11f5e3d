import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distspec.anomaly.feedback import (
    INTERESTING,
    ORDINARY,
    PARTIAL_SCORES,
    DiscoveryCurve,
    rescore_with_marks,
)


@pytest.fixture
def sample(rng):
    """600 ordinary spectra; twenty lie apart in one direction, twenty in another, all of them as odd."""
    latents = rng.normal(size=(640, 3))
    latents[600:620, 0] += 8.0
    latents[620:, 1] += 8.0
    score = rng.random(640)
    score[600:] += 1.0
    return dict.fromkeys(PARTIAL_SCORES, score), latents.astype(np.float32), score


def test_without_marks_the_order_is_the_runs_own(sample, monkeypatch):
    monkeypatch.setitem(sys.modules, "coniferest.aadforest", None)  # and nothing is needed for that
    parts, latents, score = sample
    found = rescore_with_marks(parts, latents, score, np.zeros(640, np.int8), 0)
    assert np.array_equal(np.argsort(-found), np.argsort(-score))


def test_marks_without_coniferest_say_what_to_install(sample, monkeypatch):
    monkeypatch.setitem(sys.modules, "coniferest.aadforest", None)
    parts, latents, score = sample
    marks = np.zeros(640, np.int8)
    marks[0] = ORDINARY
    with pytest.raises(RuntimeError, match=r"pip install 'distspec\[feedback\]'"):
        rescore_with_marks(parts, latents, score, marks, 0)


@pytest.mark.parametrize(("interesting", "ordinary"), [(600, 620), (620, 600)])
def test_the_kind_that_is_marked_interesting_comes_first(sample, interesting, ordinary):
    pytest.importorskip("coniferest", reason="needs distspec[feedback]")
    parts, latents, score = sample
    marks = np.zeros(640, np.int8)
    marks[interesting : interesting + 5], marks[ordinary : ordinary + 5] = INTERESTING, ORDINARY
    found = rescore_with_marks(parts, latents, score, marks, 0)
    assert np.array_equal(found, rescore_with_marks(parts, latents, score, marks, 0)), (
        "the same seed, the same scores"
    )
    rest = slice(5, 20)
    wanted, unwanted = found[interesting : interesting + 20][rest], found[ordinary : ordinary + 20][rest]
    assert (wanted[:, None] > unwanted).mean() > 0.9


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=40), st.randoms())
def test_progress_counts_what_is_known(interesting, random):
    rank = np.array(random.sample(range(1, 100), len(interesting)))
    told = np.array(interesting)
    found = DiscoveryCurve.from_marks(told, rank)
    assert found.n_found[-1] == told.sum()
    for looks in range(len(told) + 1):
        first = rank <= looks
        assert found.n_found[looks] == told[:looks].sum()
        assert found.n_found_by_rank[looks] == (told & first).sum()
        assert found.n_unmarked_by_rank[looks] == looks - first.sum() >= 0
