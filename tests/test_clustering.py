import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, silhouette_score

from distspec.clustering import (
    Clustering,
    ClusteringConfig,
    Trial,
    choose,
    features,
    fit,
    plan_trials,
    score,
    single_class,
    umap_2d,
)

CONFIG = ClusteringConfig()


@pytest.fixture
def blobs(rng):
    centres = np.array([[0, 0], [10, 0], [0, 10], [10, 10], [5, 20]])
    truth = np.repeat(np.arange(5), [100, 80, 60, 40, 20])
    return centres[truth] + rng.normal(size=(300, 2)), truth


def test_the_papers_sweep_is_the_default():
    trials, adapted = plan_trials(CONFIG, 2743, 0)
    assert len(trials) == 11 * 100
    assert {trial.k for trial in trials} == set(range(5, 16))
    assert adapted == []


def test_seeds_differ_within_a_sweep_and_follow_the_runs_seed():
    config = ClusteringConfig(seeds=3)
    assert {trial.seed for trial in plan_trials(config, 100, 0)[0]} == {0, 1, 2}
    assert {trial.seed for trial in plan_trials(config, 100, 7)[0]} == {21, 22, 23}


def test_fit_finds_what_is_there_largest_class_first(blobs):
    points, truth = blobs
    found = fit(points, Trial("gmm", 5, 0))
    assert adjusted_rand_score(truth, found.labels) > 0.97
    assert np.all(np.diff(np.bincount(found.labels)) <= 0)
    assert np.allclose(found.prob.sum(axis=1), 1.0)
    assert np.array_equal(found.prob.argmax(axis=1), found.labels)


def test_fit_repeats_exactly(blobs):
    one, two = (fit(blobs[0], Trial("gmm", 7, 3)) for _ in range(2))
    assert np.array_equal(one.labels, two.labels)
    assert np.array_equal(one.prob, two.prob)


def test_an_unknown_algorithm_is_named(blobs):
    with pytest.raises(ValueError, match="'kmodes'"):
        fit(blobs[0], Trial("kmodes", 5, 0))


def test_scores_against_scikit_learn(blobs):
    points, truth = blobs
    found = Clustering(truth.astype(np.int32), np.ones((300, 1)), 0.0)
    assert score(points, found, 10_000)["silhouette"] == pytest.approx(silhouette_score(points, truth))
    sampled = score(points, found, 150)["silhouette"]
    assert sampled == pytest.approx(silhouette_score(points, truth), abs=0.05)


def test_scores_of_one_class_are_undefined():
    assert np.isnan(list(score(np.zeros((4, 2)), single_class(4), 10).values())).all()


def test_choose():
    assert choose([]) is None
    assert choose([float("nan")]) is None
    assert choose([0.1, 0.4, 0.2]) == 1


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6, 25])
def test_small_samples_are_adapted_and_say_so(n, rng):
    latents = rng.normal(size=(n, 4))
    points, about_map = umap_2d(latents, CONFIG, 0)
    trials, about_k = plan_trials(CONFIG, n, 0)
    assert points.shape == (n, 2)
    assert np.isfinite(points).all()
    assert all(2 <= trial.k < n for trial in trials)
    assert bool(about_map) == (n <= 15)
    assert bool(about_k) == (n <= 15)
    for trial in trials[:3]:
        assert np.isfinite(score(points, fit(points, trial), 100)["silhouette"]) or trial.k == n - 1


def test_other_inputs_are_as_wide_as_the_widest_latent(rng):
    latents = (rng.normal(size=(80, 4)) * [0.01, 0.1, 1.0, 2.0]).astype(np.float32)
    beside = np.where(rng.random((80, 2)) < 0.5, 0.0, rng.normal(size=(80, 2)) * [30.0, 0.1])
    x = features(latents, np.hstack([beside, np.zeros((80, 1))]))
    assert x.shape == (80, 7)
    assert np.array_equal(x[:, :4], latents.astype(np.float64))
    assert np.allclose(x[:, 4:6].std(axis=0), x[:, 3].std())
    assert np.array_equal(x[:, 4:6] == 0, beside == 0), "what is not covered stays 0"
    assert not x[:, 6].any()
    assert np.array_equal(features(latents, np.zeros((80, 0))), latents.astype(np.float64))


def test_the_map_repeats_exactly(rng):
    latents = rng.normal(size=(80, 4))
    one, two = (umap_2d(latents, CONFIG, 5)[0] for _ in range(2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, umap_2d(latents, CONFIG, 6)[0])


@pytest.mark.parametrize(
    "settings", [{"k_min": 1}, {"min_dist": -1.0}, {"k_min": 9, "k_max": 5}, {"n_neighbors": 1}, {"seeds": 0}]
)
def test_impossible_sweeps_are_refused(settings):
    with pytest.raises(ValueError, match=r"clustering\."):
        ClusteringConfig(**settings)
