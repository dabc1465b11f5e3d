import numpy as np
import pytest
from sklearn.cluster import KMeans

from distspec.clustering.kmeans import assign_nearest_center, kmeans


@pytest.fixture
def points(rng):
    return np.concatenate([rng.normal(c, 1.0, (300, 3)) for c in (0.0, 5.0, 9.0)]) + 100.0


def test_result_equals_that_of_scikit_learn_from_the_same_centers(points):
    centers, labels = kmeans(points, 6, 1, max_iterations=3)
    theirs = KMeans(6, init=centers, n_init=1, tol=0.0).fit(points)
    ours, our_labels = kmeans(points, 6, 1)
    assert np.array_equal(assign_nearest_center(points, ours), our_labels)
    inertia = ((points - ours[our_labels]) ** 2).sum()
    assert inertia == pytest.approx(theirs.inertia_, rel=1e-3)
    assert len(np.unique(labels)) == 6


def test_initialization_is_as_good_as_that_of_scikit_learn(points):
    ours = [((points - c[label]) ** 2).sum() for c, label in (kmeans(points, 7, seed) for seed in range(20))]
    theirs = [KMeans(7, n_init=1, random_state=seed).fit(points).inertia_ for seed in range(20)]
    assert np.median(ours) <= np.median(theirs) * 1.02
    assert min(ours) <= min(theirs) * 1.005


def test_equal_seeds_give_equal_bits(points):
    first, second = (kmeans(points, 5, 3) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert not np.array_equal(first[0], kmeans(points, 5, 4)[0])


@pytest.mark.parametrize("x", [np.zeros((9, 2)), np.repeat([[0.0, 1.0], [5.0, 1.0]], 6, axis=0)])
def test_duplicates_leave_centers_without_members(x):
    centers, labels = kmeans(x, 4, 0)
    assert np.isfinite(centers).all()
    assert len(np.unique(labels)) == len(np.unique(x, axis=0))


def test_more_centers_than_points_are_refused():
    with pytest.raises(ValueError, match=r"k = 3 for 2 points: 1 ≤ k ≤ 2 must hold"):
        kmeans(np.zeros((2, 2)), 3, 0)
