import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from distspec.catalog.class_matching import MIN_JACCARD, classify_changes, compute_overlap, match_classes

label_pairs = st.lists(st.tuples(st.integers(-2, 4), st.integers(-1, 4)), min_size=1, max_size=80)


def compare_labels(pairs):
    old, new = np.array(pairs).T
    new = np.unique(np.append(new, -1), return_inverse=True)[1][:-1] - 1
    points = np.column_stack([new, old]).astype(float)
    return compute_overlap(old, new, points, np.zeros(5, int)), old, new


@settings(max_examples=100)
@given(label_pairs)
def test_overlaps_agree_with_set_operations(pairs):
    found, old, new = compare_labels(pairs)
    for i, j in np.ndindex(found.shared_counts.shape):
        a, b = old == i, (new == j) & (old >= -1)
        assert found.shared_counts[i, j] == np.sum(a & b)
        if (a | b).any():
            assert found.jaccard[i, j] == np.sum(a & b) / np.sum(a | b)
        if a.any():
            assert found.fraction_of_old[i, j] == np.sum(a & b) / np.sum(a)


@settings(max_examples=200)
@given(label_pairs)
def test_a_class_is_continued_at_most_once_and_a_majority_is_matched(pairs):
    found, *_ = compare_labels(pairs)
    continued = match_classes(found)
    heirs = continued[continued >= 0]
    assert len(set(heirs.tolist())) == len(heirs)
    for j, i in enumerate(continued):
        assert i < 0 or found.jaccard[i, j] >= MIN_JACCARD
    for i, j in np.argwhere((found.fraction_of_old > 0.5) & (found.fraction_of_new > 0.5)):
        assert i in heirs or continued[j] >= 0, "unless another class overlaps more"
    became = classify_changes(found, continued)
    assert [change == "kept" for change in became.new_classes] == (continued >= 0).tolist()
    assert [change == "kept" for change in became.old_classes] == np.isin(np.arange(5), heirs).tolist()


def test_distance_is_in_units_of_the_radius():
    points = np.concatenate([np.full((50, 4), 0.0), np.full((50, 4), 3.0)])
    points += np.random.default_rng(0).normal(size=points.shape)
    side = np.repeat([0, 1], 50)
    found = compute_overlap(side, side, points, np.array([0, 0, 7]))
    assert np.allclose(np.diag(found.distance), 0.0)
    assert 2.7 < found.distance[0, 1] < 3.3, "separation 6, radius 2"
    assert np.isinf(found.distance[2]).all(), "no spectrum is left"
    assert found.counts[2].tolist() == [0, 0, 0, 7]


def test_the_nearer_of_two_equal_candidates_continues_a_class():
    points = np.concatenate([np.zeros(20), np.full(20, 4.0), np.full(10, 6.0)])[:, None]
    points += np.random.default_rng(0).normal(size=points.shape)
    old, new = np.zeros(50, int), np.repeat([0, 1, -1], [20, 20, 10])
    assert match_classes(compute_overlap(old, new, points, np.array([0]))).tolist() == [-1, 0]
