from dataclasses import asdict, replace

import numpy as np
import pytest
from sklearn.metrics import silhouette_score

from distspec.clustering.config import ClusteringConfig
from distspec.clustering.cost import BYTES_PER_PAIR, get_max_rows
from distspec.clustering.plan import DatasetSpec, build_algorithm_grid, plan_jobs
from distspec.clustering.trials import limit_rows, results_from_table, results_to_table, run_trials

CONFIG = ClusteringConfig(
    selection_rule="consensus",
    spaces=("latents",),
    algorithms=("gmm", "kmeans", "hdbscan"),
    k_min=3,
    k_max=4,
    n_seeds=2,
    resample_fraction=0.8,
    n_null_draws=0,
)


@pytest.fixture
def points(rng):
    return rng.normal(size=(200, 3)) + 8.0 * np.repeat(np.eye(3), [100, 60, 40], axis=0)


def trials(config=CONFIG, n=200):
    specs, _ = build_algorithm_grid(config, n)
    return [trial for job in plan_jobs(config, specs, 0) for trial in job.trials]


def test_all_points_are_labeled_and_scored(points):
    max_rows, adaptations = limit_rows(CONFIG, 200, 1e9)
    assert (max_rows["gmm"], adaptations) == (160, [])
    results = run_trials(points, points, trials(), CONFIG, max_rows)
    assert len(results) == 2 * (2 + 2 + 3)
    for trial_result in results:
        assert len(trial_result.labels) == 200
        assert trial_result.sizes.sum() == round(200 * (1 - trial_result.noise_fraction))
        assert trial_result.scores.silhouette == trial_result.scores.silhouette_latents
        if not trial_result.noise_fraction and trial_result.n_clusters > 1:
            expected = silhouette_score(points, trial_result.labels)
            assert trial_result.scores.silhouette == pytest.approx(expected, abs=1e-5)
    three_clusters = [trial_result for trial_result in results if trial_result.trial.algorithm_spec.k == 3]
    assert all(trial_result.scores.silhouette > 0.6 for trial_result in three_clusters)


def test_trials_do_not_depend_on_the_rest_of_the_batch(points):
    max_rows, _ = limit_rows(CONFIG, 200, 1e9)
    together = run_trials(points, points, trials(), CONFIG, max_rows)
    for trial_result in together[::3]:
        (alone,) = run_trials(points, points, [trial_result.trial], CONFIG, max_rows)
        assert np.array_equal(alone.labels, trial_result.labels)
        assert asdict(alone.scores) == pytest.approx(asdict(trial_result.scores), nan_ok=True)


def test_null_trials_keep_their_stability_instead_of_labels(points):
    config = replace(CONFIG, n_null_draws=1)
    nulls = [trial for trial in trials(config) if trial.dataset == DatasetSpec("gaussian", 0)]
    results = run_trials(points, points, nulls, config, limit_rows(config, 200, 1e9)[0])
    assert all(len(trial_result.labels) == 0 for trial_result in results)
    assert all(-1 <= trial_result.scores.stability <= 1 for trial_result in results)


def test_results_survive_the_table(points):
    some = trials()[:4]
    results = run_trials(points, points, some, CONFIG, limit_rows(CONFIG, 200, 1e9)[0])
    for restored, result in zip(results_from_table(results_to_table(results), some), results, strict=True):
        assert restored.trial == result.trial
        assert np.array_equal(restored.labels, result.labels)
        assert np.array_equal(restored.sizes, result.sizes)
        assert asdict(restored.scores) == pytest.approx(asdict(result.scores), nan_ok=True)


def test_memory_limits_the_number_of_rows():
    config = replace(CONFIG, algorithms=("hierarchy", "dbscan", "optics", "gmm"), resample_fraction=1.0)
    max_rows, adaptations = limit_rows(config, 10_000, 1e6 * BYTES_PER_PAIR["hierarchy"])
    assert max_rows["hierarchy"] == get_max_rows("hierarchy", 1e6 * BYTES_PER_PAIR["hierarchy"]) == 1000
    assert max_rows["dbscan"] == 1000
    assert max_rows["gmm"] == 10_000
    assert len(adaptations) == 3
    assert "hierarchy is fitted to 1,000 of 10,000" in adaptations[0]
