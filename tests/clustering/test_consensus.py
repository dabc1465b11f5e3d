import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from distspec.clustering import consensus
from distspec.clustering.algorithms import labels_from_prob
from distspec.clustering.consensus import (
    Consensus,
    adjusted_rand_index,
    coassociation_matrix,
    compute_class_jaccard,
    compute_stability,
    describe_unstable_classes,
    drop_unstable_classes,
    find_consensus,
)

LABELS = st.lists(st.integers(-1, 4), min_size=2, max_size=40)


@given(st.data())
@settings(max_examples=60)
def test_adjusted_rand_index_equals_that_of_scikit_learn(data):
    labels_a = data.draw(LABELS)
    labels_b = data.draw(st.lists(st.integers(-1, 4), min_size=len(labels_a), max_size=len(labels_a)))
    ours = adjusted_rand_index(np.array(labels_a, np.int32), np.array(labels_b, np.int32))
    assert ours == pytest.approx(adjusted_rand_score(labels_a, labels_b), abs=1e-9)


def perturb(truth, rng, fraction):
    """Return twelve labelings with a fraction of random labels and permuted clusters."""
    k = truth.max() + 1
    members = []
    for _ in range(12):
        is_random = rng.random(len(truth)) < fraction
        member = np.where(is_random, rng.integers(0, k, len(truth)), truth)
        members.append(rng.permutation(k)[member].astype(np.int32))
    return members


@pytest.mark.parametrize("sample", [10_000, 200])
def test_consensus_recovers_classes_from_noisy_members(rng, monkeypatch, sample):
    monkeypatch.setattr(consensus, "CONSENSUS_SAMPLE_SIZE", sample)
    truth = np.repeat(np.arange(4), [200, 150, 100, 50]).astype(np.int32)
    result = find_consensus(perturb(truth, rng, 0.3), 4, rng)
    assert adjusted_rand_score(truth, result.labels) > 0.97
    assert np.all(np.diff(np.bincount(result.labels)) <= 0)


def test_points_whose_members_disagree_have_low_stability(rng):
    truth = np.repeat(np.arange(3), 100).astype(np.int32)
    members = perturb(truth, rng, 0.0)
    for member in members:
        member[:20] = rng.integers(0, 3, 20)
    result = find_consensus(members, 3, rng)
    prob, stability = result.predict_proba(members), result.membership_stability(members, result.labels)
    assert np.allclose(prob.sum(axis=1), 1.0)
    assert prob[20:].max(axis=1).min() > 0.8
    assert prob[:20].max(axis=1).mean() < 0.7
    assert stability[:20].mean() < 0.7 < stability[20:].min()


def test_a_class_that_no_point_is_labeled_with_is_dropped(rng):
    """The four middle points form a branch of the tree, but share their clusters with larger classes."""
    truth = np.repeat([0, 2, 1, 3], [40, 4, 30, 20]).astype(np.int32)
    members = [np.where(truth == 2, side, truth).astype(np.int32) for side in (0, 0, 1, 1)]
    with_empty = Consensus.from_members(members, truth)
    assert set(labels_from_prob(with_empty.predict_proba(members)).tolist()) == {0, 1, 3}
    result = find_consensus(members, 4, rng)
    labels = labels_from_prob(result.predict_proba(members))
    assert result.n_classes == 3
    assert set(labels.tolist()) == set(result.labels.tolist()) == {0, 1, 2}
    assert np.array_equal(labels[truth == 3], np.full(20, 2))


def test_noise_belongs_to_no_class(rng):
    labels = [np.array([0, 0, 1, 1, 1, -1], np.int32)] * 3
    assert coassociation_matrix(labels)[5].tolist() == [0, 0, 0, 0, 0, 1]
    result = find_consensus(labels, 2, rng)
    assert result.labels.tolist() == [1, 1, 0, 0, 0, -1]
    assert result.predict_proba(labels)[5].sum() == 0
    assert result.membership_stability(labels, result.labels)[5] == 0


def test_stability_is_the_mean_index_with_the_other_members():
    one, other = np.array([0, 0, 1, 1], np.int32), np.array([0, 1, 0, 1], np.int32)
    assert compute_stability([one, one]).tolist() == [1.0, 1.0]
    three = compute_stability([one, one, other])
    assert three[0] == three[1] > three[2]
    assert np.isnan(compute_stability([one])).all()


def test_stability_with_several_models_is_between_models():
    """Two models, each of which always finds the same classes, and other classes than the other one."""
    one, other = np.array([0, 0, 1, 1], np.int32), np.array([0, 1, 0, 1], np.int32)
    members, models = [one, other, one, other], [0, 1, 0, 1]
    between = compute_stability(members, models)
    assert between.tolist() == [adjusted_rand_index(one, other)] * 4
    assert compute_stability(members).min() > between.max()
    assert compute_stability([one, one], [0, 0]).tolist() == [1.0, 1.0]


def test_classes_that_members_do_not_find_again_are_dropped(rng):
    """Two of four classes are divided anew by every member."""
    truth = np.repeat(np.arange(4), [80, 60, 40, 40]).astype(np.int32)
    members = [np.where(truth >= 2, rng.integers(2, 4, len(truth)), truth).astype(np.int32) for _ in range(6)]
    found = Consensus.from_members(members, truth)
    index = compute_class_jaccard(members, truth)
    assert index[:2].tolist() == [1.0, 1.0]
    assert index[2:].max() < 0.45
    kept = drop_unstable_classes(found, members, 0.6)
    assert np.array_equal(kept.labels, np.where(truth < 2, truth, -1))
    assert np.array_equal(labels_from_prob(kept.predict_proba(members)), kept.labels)
    assert "2 of 4 classes do not reach" in describe_unstable_classes(found, kept, members, 0.6)[0]
    assert "36% of the spectra" in describe_unstable_classes(found, kept, members, 0.6)[0]


def test_all_classes_are_kept_and_reported_if_none_is_stable(rng):
    members = [rng.integers(0, 3, 90).astype(np.int32) for _ in range(4)]
    found = find_consensus(members, 3, rng)
    assert drop_unstable_classes(found, members, 0.6) is found
    assert "none is reproducible" in describe_unstable_classes(found, found, members, 0.6)[0]
    assert describe_unstable_classes(found, found, members, 0.0) == []


def test_jaccard_index_of_a_class_is_that_of_the_most_similar_cluster():
    labels = [np.array([0, 0, 0, 1, -1, -1], np.int32)]
    classes = np.array([0, 0, 1, 1, 1, -1], np.int32)
    assert compute_class_jaccard(labels, classes).tolist() == [pytest.approx(2 / 3), pytest.approx(1 / 3)]


def test_consensus_predicts_for_other_points():
    classes = np.array([0, 0, 1, 1], np.int32)
    result = Consensus.from_members([classes], classes)
    new_labels = [np.array([1, -1], np.int32)]
    assert result.predict_proba(new_labels).tolist() == [[0.0, 1.0], [0.0, 0.0]]
