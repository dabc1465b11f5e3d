import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from distspec.clustering import consensus
from distspec.clustering.consensus import (
    Consensus,
    adjusted_rand_index,
    coassociation_matrix,
    compute_stability,
    find_consensus,
)

LABELS = st.lists(st.integers(-1, 4), min_size=2, max_size=40)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_rand_index_against_scikit_learn(data):
    one = data.draw(LABELS)
    other = data.draw(st.lists(st.integers(-1, 4), min_size=len(one), max_size=len(one)))
    ours = adjusted_rand_index(np.array(one, np.int32), np.array(other, np.int32))
    assert ours == pytest.approx(adjusted_rand_score(one, other), abs=1e-9)


def blurred(truth, rng, share):
    """Some repeats, each with a share of labels drawn anew and its clusters renamed."""
    k = truth.max() + 1
    repeats = []
    for _ in range(12):
        wrong = rng.random(len(truth)) < share
        each = np.where(wrong, rng.integers(0, k, len(truth)), truth)
        repeats.append(rng.permutation(k)[each].astype(np.int32))
    return repeats


@pytest.mark.parametrize("sample", [10_000, 200])
def test_repeats_agree_on_what_is_there(rng, monkeypatch, sample):
    monkeypatch.setattr(consensus, "CONSENSUS_SAMPLE_SIZE", sample)
    truth = np.repeat(np.arange(4), [200, 150, 100, 50]).astype(np.int32)
    found = find_consensus(blurred(truth, rng, 0.3), 4, rng)
    assert adjusted_rand_score(truth, found.labels) > 0.97
    assert np.all(np.diff(np.bincount(found.labels)) <= 0)


def test_the_undecided_are_known(rng):
    truth = np.repeat(np.arange(3), 100).astype(np.int32)
    repeats = blurred(truth, rng, 0.0)
    for each in repeats:
        each[:20] = rng.integers(0, 3, 20)
    found = find_consensus(repeats, 3, rng)
    prob, stable = found.predict_proba(repeats), found.membership_stability(repeats, found.labels)
    assert np.allclose(prob.sum(axis=1), 1.0)
    assert prob[20:].max(axis=1).min() > 0.8
    assert prob[:20].max(axis=1).mean() < 0.7
    assert stable[:20].mean() < 0.7 < stable[20:].min()


def test_noise_is_with_nobody(rng):
    labels = [np.array([0, 0, 1, 1, 1, -1], np.int32)] * 3
    assert coassociation_matrix(labels)[5].tolist() == [0, 0, 0, 0, 0, 1]
    found = find_consensus(labels, 2, rng)
    assert found.labels.tolist() == [1, 1, 0, 0, 0, -1]
    assert found.predict_proba(labels)[5].sum() == 0
    assert found.membership_stability(labels, found.labels)[5] == 0


def test_stability_is_of_each_repeat_with_the_others():
    one, other = np.array([0, 0, 1, 1], np.int32), np.array([0, 1, 0, 1], np.int32)
    assert compute_stability([one, one]).tolist() == [1.0, 1.0]
    three = compute_stability([one, one, other])
    assert three[0] == three[1] > three[2]
    assert np.isnan(compute_stability([one])).all()


def test_a_consensus_speaks_of_points_that_it_has_not_seen():
    classes = np.array([0, 0, 1, 1], np.int32)
    found = Consensus.from_members([classes], classes)
    unseen = [np.array([1, -1], np.int32)]
    assert found.predict_proba(unseen).tolist() == [[0.0, 1.0], [0.0, 0.0]]
