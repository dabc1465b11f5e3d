import numpy as np
import pytest
from sklearn.metrics import davies_bouldin_score, silhouette_score
from sklearn.metrics import silhouette_samples as sklearn_silhouette_samples

from distspec.clustering import silhouette
from distspec.clustering import silhouette as module
from distspec.clustering.kmeans import kmeans
from distspec.clustering.silhouette import davies_bouldin, silhouette_samples, silhouette_scores


@pytest.fixture
def points(rng):
    return rng.normal(size=(1500, 2)) + np.repeat([[0, 0], [4, 0], [0, 5]], 500, axis=0) + 300.0


@pytest.fixture
def trials(points):
    return np.stack([kmeans(points, k, seed)[1] for k in (2, 3, 3, 7, 12) for seed in (0, 1)])


def test_silhouettes_equal_those_of_scikit_learn(points, trials):
    scores = silhouette_scores(points, trials)
    sample = silhouette_samples(points, trials)
    assert not scores.standard_error.any()
    assert scores.n_sampled == 1500
    for labels, score, one in zip(trials, scores.silhouette, sample, strict=True):
        assert score == pytest.approx(silhouette_score(points, labels), abs=1e-6)
        assert np.allclose(one, sklearn_silhouette_samples(points, labels), atol=1e-6)


def test_labels_may_skip_numbers(rng):
    x, labels = rng.normal(size=(400, 16)), rng.choice([1, 4, 9], (3, 400)).astype(np.int32)
    labels[0, 0] = 20  # a class of one point
    for found, sample in zip(silhouette_samples(x, labels), labels, strict=True):
        assert np.allclose(found, sklearn_silhouette_samples(x, sample), atol=1e-6)


def test_noise_counts_as_zero(points, trials, rng):
    noisy = trials.copy()
    noisy[:, rng.random(1500) < 0.3] = -1
    scores, valid = silhouette_scores(points, noisy).silhouette, noisy[0] >= 0
    for labels, score in zip(noisy, scores, strict=True):
        assert score == pytest.approx(silhouette_score(points[valid], labels[valid]) * valid.mean(), abs=1e-6)


def test_silhouettes_do_not_depend_on_batch_or_memory(points, trials, monkeypatch):
    together = silhouette_scores(points, trials).silhouette
    assert np.array_equal(silhouette_scores(points, trials[::-1]).silhouette[::-1], together)
    assert np.array_equal(silhouette_scores(points, trials[4:5]).silhouette, together[4:5])
    assert np.array_equal(silhouette_scores(points, trials, max_bytes=1 << 20).silhouette, together)
    monkeypatch.setattr(module, "_TRIALS_PER_BATCH", 3)
    assert np.array_equal(silhouette_scores(points, trials).silhouette, together)


def test_undefined_silhouettes_are_nan():
    x = np.arange(8.0).reshape(4, 2)
    labels = np.array([[0, 0, 0, 0], [0, 1, 2, 3], [-1, -1, -1, -1], [0, 0, -1, -1], [0, 0, 1, 1]], np.int32)
    assert np.isnan(silhouette_scores(x, labels).silhouette).tolist() == [True, True, True, True, False]
    assert silhouette_scores(np.zeros((4, 2)), labels[4:]).silhouette == [0.0], "duplicates"
    assert silhouette_scores(x, labels[:0]).silhouette.shape == (0,)


def test_sampled_silhouettes_agree_within_the_standard_error(points, trials):
    exact = silhouette_scores(points, trials).silhouette
    sampled = [silhouette_scores(points, trials, max_exact_points=500, seed=seed) for seed in range(40)]
    assert all(sample.n_sampled <= 500 for sample in sampled)
    assert np.array_equal(
        silhouette_scores(points, trials[3:4], max_exact_points=500).silhouette, sampled[0].silhouette[3:4]
    ), "the sample does not depend on the labels"
    score = np.array([sample.silhouette for sample in sampled])
    stated = np.mean([sample.standard_error for sample in sampled], axis=0)
    assert np.all(np.abs(score.mean(axis=0) - exact) < stated)
    assert np.all(score.std(axis=0) < 1.5 * stated)
    assert np.all(stated < 4.0 * score.std(axis=0))


def test_sample_includes_small_distant_groups(rng):
    x = np.concatenate([rng.normal(size=(20_000, 2)), rng.normal(40.0, 1.0, (60, 2))])
    rows, weight = silhouette._draw_stratified_sample(x, 1000, 0)
    assert np.sum(rows >= 20_000) > 5, "a random sample would have 3"
    assert weight.sum() == pytest.approx(len(x))
    assert len(rows) <= 1000


def test_davies_bouldin_index_equals_that_of_scikit_learn(rng):
    x = rng.normal(size=(600, 3)) + rng.integers(0, 3, (600, 1))
    labels = rng.integers(0, 6, (5, 600)).astype(np.int32)
    labels[1] = (x[:, 0] > 1.0).astype(np.int32) * 3  # labels 1 and 2 do not occur
    assert davies_bouldin(x, labels) == pytest.approx([davies_bouldin_score(x, sample) for sample in labels])


def test_davies_bouldin_index_ignores_noise(rng):
    x, labels = rng.normal(size=(300, 2)), rng.integers(-1, 4, 300).astype(np.int32)
    valid = labels >= 0
    assert davies_bouldin(x, labels[None])[0] == pytest.approx(davies_bouldin_score(x[valid], labels[valid]))
    assert np.isnan(davies_bouldin(x, np.full((2, 300), [[-1], [3]], np.int32))).all()
