from collections import Counter
from dataclasses import replace

import pytest

from distspec.clustering.config import NULL_MODELS, AlgorithmSpec, ClusteringConfig
from distspec.clustering.plan import build_algorithm_grid, build_spaces, plan_jobs
from distspec.core.errors import ConfigError

EVERYTHING = ClusteringConfig(
    selection_rule="consensus",
    spaces=("features", "latents", "map"),
    algorithms=("gmm", "kmeans", "hdbscan", "dbscan", "optics", "hierarchy", "bgmm"),
    covariance_types=("full", "tied"),
    k_max=7,
    n_seeds=6,
    n_umap_seeds=2,
    umap_n_neighbors=(15, 30),
    umap_dims=(2, 5),
    resample_fraction=0.8,
    n_null_draws=3,
    n_null_seeds=2,
)


def test_default_is_the_published_sweep():
    specs, adaptations = build_algorithm_grid(ClusteringConfig(), 2743)
    jobs = plan_jobs(ClusteringConfig(), specs, 0)
    trials = [trial for job in jobs for trial in job.trials if not trial.dataset.is_null]
    assert len(trials) == 11 * 100
    assert {trial.algorithm_spec.k for trial in trials} == set(range(5, 16))
    assert {(trial.space.name, trial.space.umap_dims, trial.space.umap_n_neighbors) for trial in trials} == {
        ("map", 2, 15)
    }
    assert adaptations == []


def test_every_setting_has_all_members_in_every_space_on_their_own_maps():
    specs, _ = build_algorithm_grid(EVERYTHING, 500)
    trials = [trial for job in plan_jobs(EVERYTHING, specs, 0) for trial in job.trials]
    own = [trial for trial in trials if not trial.dataset.is_null]
    count = Counter((trial.space.title, trial.algorithm_spec) for trial in own)
    assert set(count.values()) == {6}
    assert len(count) == len(specs) * (2 + 2 * 2)
    maps = {(trial.member, trial.space.umap_seed) for trial in own if trial.space.umap_dims}
    assert maps == {(member, member % 2) for member in range(6)}


def test_members_take_models_and_maps_in_turn():
    """Each model has a map of its own."""
    config = replace(EVERYTHING, n_models=4, n_seeds=10, n_umap_seeds=6)
    specs, _ = build_algorithm_grid(config, 500)
    trials = [trial for job in plan_jobs(config, specs, 3) for trial in job.trials]
    own = [trial for trial in trials if not trial.dataset.is_null]
    assert {(trial.member, trial.dataset.number) for trial in own} == {(i, i % 4) for i in range(10)}
    assert set(Counter((trial.space.title, trial.algorithm_spec) for trial in own).values()) == {10}
    maps = {(trial.member, trial.space.umap_seed - 18) for trial in own if trial.space.umap_dims}
    assert maps == {(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 2), (7, 3), (8, 0), (9, 1)}


def test_no_more_models_than_members():
    config = ClusteringConfig(selection_rule="consensus", n_models=4, n_seeds=2)
    assert config.n_clustered_models == 2
    jobs = plan_jobs(config, [AlgorithmSpec("gmm", 5, "full")], 0)
    assert {job.dataset.number for job in jobs if not job.dataset.is_null} == {0, 1}


def test_null_data_get_all_settings():
    specs, _ = build_algorithm_grid(EVERYTHING, 500)
    jobs = plan_jobs(EVERYTHING, specs, 0)
    nulls = [job for job in jobs if job.dataset.is_null]
    assert len(nulls) == len(NULL_MODELS) * 3 * len(build_spaces(EVERYTHING, range(1), 0))
    assert all({trial.algorithm_spec for trial in job.trials} == set(specs) for job in nulls)
    assert all(len(job.trials) == 2 * len(specs) for job in nulls)


def test_jobs_hold_trials_of_one_algorithm_and_member():
    specs, _ = build_algorithm_grid(EVERYTHING, 500)
    jobs = plan_jobs(EVERYTHING, specs, 0)
    assert [job.number for job in jobs] == list(range(len(jobs)))
    assert plan_jobs(EVERYTHING, specs, 0) == jobs
    for job in (job for job in jobs if not job.dataset.is_null):
        assert len({(trial.algorithm_spec.algorithm, trial.member) for trial in job.trials}) == 1
        assert len(job.trials) == 1 or job.trials[0].algorithm_spec.algorithm == "gmm"


def test_seeds_follow_from_the_seed_of_the_run():
    config = ClusteringConfig(n_seeds=3)
    for seed, expected in ((0, {0, 1, 2}), (7, {21, 22, 23})):
        jobs = plan_jobs(config, [AlgorithmSpec("gmm", 5, "full")], seed)
        assert {trial.seed for job in jobs for trial in job.trials} == expected


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6, 25])
def test_grids_are_adapted_to_small_samples(n):
    specs, adaptations = build_algorithm_grid(ClusteringConfig(), n)
    assert all(2 <= spec.k < n for spec in specs)
    assert bool(adaptations) == (n <= 15)


@pytest.mark.parametrize(
    "given",
    [
        {"k_min": 1},
        {"k_min": 9, "k_max": 5},
        {"umap_min_dist": -1.0},
        {"umap_n_neighbors": (1,)},
        {"umap_dims": (1,)},
        {"n_seeds": 0},
        {"spaces": ("tsne",)},
        {"algorithms": ()},
        {"covariance_types": ("round",)},
        {"resample_fraction": 0.0},
        {"alpha": 1.0},
        {"selection_rule": "consensus", "n_seeds": 1},
        {"selection_rule": "consensus", "n_models": 0},
        {"n_models": 2},
    ],
)
def test_invalid_settings_are_refused(given):
    with pytest.raises(ConfigError, match=r"clustering\."):
        ClusteringConfig(**given)
