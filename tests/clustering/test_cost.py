import numpy as np
import pytest

from distspec.clustering.config import AlgorithmSpec, ClusteringConfig
from distspec.clustering.cost import (
    JobCategory,
    SweepSize,
    count_work_units,
    estimate_actor_bytes,
    estimate_driver_bytes,
    estimate_seconds,
    get_max_rows,
    get_memory_usage,
    select_timing_jobs,
)
from distspec.clustering.plan import build_algorithm_grid, plan_jobs

CONFIG = ClusteringConfig(
    selection_rule="consensus",
    spaces=("latents", "map"),
    algorithms=("gmm", "hdbscan"),
    k_max=6,
    n_seeds=4,
    n_null_draws=1,
)


def jobs_of(config=CONFIG, n=500):
    return plan_jobs(config, build_algorithm_grid(config, n)[0], 0)


def needed(n, config=CONFIG, n_all=None, most=None):
    tried, _ = build_algorithm_grid(config, n)
    size = SweepSize(n_all or n, n, 16, 100)
    given = dict.fromkeys(config.algorithms, most or n)
    return estimate_actor_bytes(size, config, tried, given), estimate_driver_bytes(size, config)


def test_more_rows_need_more_memory():
    actor, driver = zip(*(needed(n) for n in (500, 5_000, 20_000)), strict=True)
    assert list(actor) == sorted(actor)
    assert list(driver) == sorted(driver)
    assert needed(20_000, n_all=10_000_000)[1] > 10_000_000 * 4 * CONFIG.k_max
    assert needed(20_000, n_all=10_000_000)[0] == needed(20_000)[0], "actors hold the sample alone"


def test_a_tree_is_what_an_actor_holds_most_of_unless_it_is_given_fewer():
    config = ClusteringConfig(algorithms=("gmm", "hierarchy"), k_max=6, n_seeds=2)
    assert needed(20_000, config)[0] > 8 * 20_000**2
    assert needed(20_000, config, most=2_000)[0] < 1e9


@pytest.mark.parametrize("algorithm", ["hierarchy", "dbscan"])
def test_what_is_allowed_fits(algorithm):
    rows = get_max_rows(algorithm, 1e9)
    assert 8.0 * rows**2 < 1e9 < 12.0 * rows**2
    assert get_max_rows("gmm", 1e6) > 10**9


def test_one_job_of_each_kind_is_timed_first():
    jobs = jobs_of()
    first = select_timing_jobs(jobs)
    assert len({JobCategory.from_job(job) for job in first}) == len(first)
    assert {JobCategory.from_job(job) for job in first} == {JobCategory.from_job(job) for job in jobs}


def test_time_is_shared_out_but_no_job_is_cut():
    jobs = jobs_of()
    pace = {JobCategory.from_job(job): 0.5 for job in jobs}
    total = 0.5 * sum(map(count_work_units, jobs))
    assert estimate_seconds(jobs, pace, 1) == pytest.approx(total)
    assert estimate_seconds(jobs, pace, 2) == pytest.approx(total / 2)
    assert estimate_seconds(jobs, pace, 10**6) == pytest.approx(0.5 * max(map(count_work_units, jobs)))
    assert estimate_seconds([], pace, 2) == 0.0


def test_more_clusters_are_more_work():
    job = jobs_of()[0]
    trial = job.trials[0]
    of = {
        k: job._replace(trials=(trial._replace(algorithm_spec=AlgorithmSpec("gmm", k, "full")),))
        for k in (5, 15)
    }
    assert count_work_units(of[15]) == 3 * count_work_units(of[5])


def test_what_a_process_holds_is_seen():
    before = get_memory_usage()
    held = np.ones(40_000_000)
    after = get_memory_usage()
    assert before.current_mb + 250 < after.current_mb <= after.peak_mb
    del held
    assert get_memory_usage().peak_mb >= after.peak_mb - 1
