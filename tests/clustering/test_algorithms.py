import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from distspec.clustering.algorithms import (
    KNeighborsMembership,
    fit_clustering,
    fit_clusterings,
    labels_from_prob,
)
from distspec.clustering.config import ALGORITHM_FRACTIONS, ALGORITHMS, AlgorithmSpec

SPECS = [
    AlgorithmSpec("gmm", 5, "full"),
    AlgorithmSpec("gmm", 5, "tied"),
    AlgorithmSpec("gmm", 5, "diag"),
    AlgorithmSpec("bgmm", 8),
    AlgorithmSpec("kmeans", 5),
    AlgorithmSpec("hierarchy", 5, "ward"),
    AlgorithmSpec("hierarchy", 5, "average"),
    AlgorithmSpec("dbscan", fraction=0.95),
    AlgorithmSpec("hdbscan", fraction=0.05),
    AlgorithmSpec("optics", fraction=0.05),
]


@pytest.fixture
def blobs(rng):
    centers = np.array([[0, 0], [10, 0], [0, 10], [10, 10], [5, 20]])
    truth = np.repeat(np.arange(5), [100, 80, 60, 40, 20])
    return centers[truth] + rng.normal(size=(300, 2)), truth


def test_parameters_below_cover_every_algorithm():
    assert {item.algorithm for item in SPECS} == set(ALGORITHMS)
    assert set(ALGORITHM_FRACTIONS) <= set(ALGORITHMS)


@pytest.mark.parametrize("setting", SPECS, ids=str)
def test_fit_recovers_well_separated_classes_in_order_of_size(blobs, setting, rng):
    points, truth = blobs
    clustering = fit_clustering(points, setting, rng)
    assigned = clustering.labels >= 0
    assert adjusted_rand_score(truth[assigned], clustering.labels[assigned]) > 0.8
    assert assigned.mean() > (0.5 if setting.algorithm == "optics" else 0.8)
    assert np.all(np.diff(np.bincount(clustering.labels[assigned])) <= 0)
    assert clustering.prob.shape == (300, clustering.labels.max() + 1)
    assert np.all(clustering.prob.sum(axis=1) <= 1.0 + 1e-9)
    assert np.isfinite(clustering.bic) == (setting.algorithm == "gmm")
    predicted = labels_from_prob(clustering.membership_model.predict_proba(points + 1e-9))
    assert np.mean(predicted[assigned] == clustering.labels[assigned]) > 0.95


@pytest.mark.parametrize("setting", SPECS, ids=str)
def test_equal_seeds_give_equal_clusterings(blobs, setting):
    first, second = (fit_clustering(blobs[0], setting, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(first.labels, second.labels)
    assert np.array_equal(first.prob, second.prob)


def test_mixtures_do_not_depend_on_the_rest_of_the_batch(blobs):
    points, _ = blobs
    together = fit_clusterings(points, SPECS[:3], [4, 5, 6], n_init=2)
    for setting, seed, item in zip(SPECS[:3], (4, 5, 6), together, strict=True):
        assert np.array_equal(fit_clusterings(points, [setting], [seed], n_init=2)[0].prob, item.prob)


def test_points_far_from_all_fitted_points_are_noise(blobs):
    points, _ = blobs
    clustering = fit_clustering(points, AlgorithmSpec("hdbscan", fraction=0.05), np.random.default_rng(0))
    assert isinstance(clustering.membership_model, KNeighborsMembership)
    assert labels_from_prob(
        clustering.membership_model.predict_proba(np.array([[500.0, 500.0]]))
    ).tolist() == [-1]


@pytest.mark.parametrize(
    ("points", "setting", "message"),
    [
        (np.zeros((9, 2)), AlgorithmSpec("kmodes", 5), "'kmodes'"),
        (np.zeros((3, 2)), AlgorithmSpec("gmm", 5, "full"), "k = 5 needs at least 5 points: there are 3"),
        (np.array([[0.0], [np.nan], [1.0]]), AlgorithmSpec("kmeans", 2), "point 1 is not finite"),
        (np.zeros((1, 2)), AlgorithmSpec("hdbscan", fraction=0.5), "needs at least 2 points: there are 1"),
    ],
)
def test_invalid_inputs_are_refused(points, setting, message):
    with pytest.raises(ValueError, match=message):
        fit_clustering(points, setting, np.random.default_rng(0))


@given(st.integers(0, 1000), st.sampled_from([item for item in SPECS if item.algorithm != "optics"]))
@settings(max_examples=20)
def test_duplicates_and_constant_columns_give_finite_clusterings(seed, setting):
    rng = np.random.default_rng(seed)
    points = np.column_stack([rng.integers(0, 3, 30), np.zeros(30)]).astype(np.float64)
    clustering = fit_clustering(points, setting, rng)
    assert np.isfinite(clustering.prob).all()
    assert clustering.labels.min() >= -1
    # HDBSCAN may assign equal points to different clusters, because their distances are tied.
    for value in np.unique(points[:, 0]) if setting.algorithm != "hdbscan" else ():
        assert len(np.unique(clustering.labels[points[:, 0] == value])) == 1, "equal points have equal labels"
