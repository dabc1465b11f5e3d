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


def make_jobs(config=CONFIG, n=500):
    return plan_jobs(config, build_algorithm_grid(config, n)[0], 0)


def estimate_memory(n, config=CONFIG, n_all=None, most=None):
    tried, _ = build_algorithm_grid(config, n)
    size = SweepSize(n_all or n, n, 16, 100)
    given = dict.fromkeys(config.algorithms, most or n)
    return estimate_actor_bytes(size, config, tried, given), estimate_driver_bytes(size, config)


def test_memory_grows_with_the_sample():
    actor, driver = zip(*(estimate_memory(n) for n in (500, 5_000, 20_000)), strict=True)
    assert list(actor) == sorted(actor)
    assert list(driver) == sorted(driver)
    assert estimate_memory(20_000, n_all=10_000_000)[1] > 10_000_000 * 4 * CONFIG.k_max
    assert estimate_memory(20_000, n_all=10_000_000)[0] == estimate_memory(20_000)[0], (
        "actors hold only the sample"
    )


def test_linkage_dominates_the_memory_unless_rows_are_limited():
    config = ClusteringConfig(algorithms=("gmm", "hierarchy"), k_max=6, n_seeds=2)
    assert estimate_memory(20_000, config)[0] > 8 * 20_000**2
    assert estimate_memory(20_000, config, most=2_000)[0] < 1e9


@pytest.mark.parametrize("algorithm", ["hierarchy", "dbscan"])
def test_allowed_rows_fit_into_the_memory(algorithm):
    rows = get_max_rows(algorithm, 1e9)
    assert 8.0 * rows**2 < 1e9 < 12.0 * rows**2
    assert get_max_rows("gmm", 1e6) > 10**9


def test_first_job_of_each_category_is_timed():
    jobs = make_jobs()
    first = select_timing_jobs(jobs)
    assert len({JobCategory.from_job(job) for job in first}) == len(first)
    assert {JobCategory.from_job(job) for job in first} == {JobCategory.from_job(job) for job in jobs}


def test_duration_is_shared_by_actors_but_not_below_one_job():
    jobs = make_jobs()
    seconds_per_unit = {JobCategory.from_job(job): 0.5 for job in jobs}
    total = 0.5 * sum(map(count_work_units, jobs))
    assert estimate_seconds(jobs, seconds_per_unit, 1) == pytest.approx(total)
    assert estimate_seconds(jobs, seconds_per_unit, 2) == pytest.approx(total / 2)
    assert estimate_seconds(jobs, seconds_per_unit, 10**6) == pytest.approx(
        0.5 * max(map(count_work_units, jobs))
    )
    assert estimate_seconds([], seconds_per_unit, 2) == 0.0


def test_work_is_proportional_to_the_number_of_clusters():
    job = make_jobs()[0]
    trial = job.trials[0]
    job_by_k = {
        k: job._replace(trials=(trial._replace(algorithm_spec=AlgorithmSpec("gmm", k, "full")),))
        for k in (5, 15)
    }
    assert count_work_units(job_by_k[15]) == 3 * count_work_units(job_by_k[5])


def test_memory_usage_includes_a_new_array():
    before = get_memory_usage()
    held = np.ones(40_000_000)
    after = get_memory_usage()
    assert before.current_mb + 250 < after.current_mb <= after.peak_mb
    del held
    assert get_memory_usage().peak_mb >= after.peak_mb - 1
