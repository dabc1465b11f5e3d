import numpy as np
import pytest

from distspec.clustering.config import ClusteringConfig, Setting
from distspec.clustering.cost import (
    Kind,
    Size,
    actor_bytes,
    driver_bytes,
    firsts,
    most_rows,
    resident,
    seconds,
    work,
)
from distspec.clustering.plan import plan, settings

CONFIG = ClusteringConfig(
    rule="consensus", spaces=("latents", "map"), algorithms=("gmm", "hdbscan"), k_max=6, seeds=4, null_draws=1
)


def jobs_of(config=CONFIG, n=500):
    return plan(config, settings(config, n)[0], 0)


def needed(n, config=CONFIG, n_all=None, most=None):
    tried, _ = settings(config, n)
    size = Size(n_all or n, n, 16, 100)
    given = dict.fromkeys(config.algorithms, most or n)
    return actor_bytes(size, config, tried, given), driver_bytes(size, config)


def test_more_rows_need_more_memory():
    actor, driver = zip(*(needed(n) for n in (500, 5_000, 20_000)), strict=True)
    assert list(actor) == sorted(actor)
    assert list(driver) == sorted(driver)
    assert needed(20_000, n_all=10_000_000)[1] > 10_000_000 * 4 * CONFIG.k_max
    assert needed(20_000, n_all=10_000_000)[0] == needed(20_000)[0], "actors hold the sample alone"


def test_a_tree_is_what_an_actor_holds_most_of_unless_it_is_given_fewer():
    config = ClusteringConfig(algorithms=("gmm", "hierarchy"), k_max=6, seeds=2)
    assert needed(20_000, config)[0] > 8 * 20_000**2
    assert needed(20_000, config, most=2_000)[0] < 1e9


@pytest.mark.parametrize("algorithm", ["hierarchy", "dbscan"])
def test_what_is_allowed_fits(algorithm):
    rows = most_rows(algorithm, 1e9)
    assert 8.0 * rows**2 < 1e9 < 12.0 * rows**2
    assert most_rows("gmm", 1e6) > 10**9


def test_one_job_of_each_kind_is_timed_first():
    jobs = jobs_of()
    first = firsts(jobs)
    assert len({Kind.of(job) for job in first}) == len(first)
    assert {Kind.of(job) for job in first} == {Kind.of(job) for job in jobs}


def test_time_is_shared_out_but_no_job_is_cut():
    jobs = jobs_of()
    pace = {Kind.of(job): 0.5 for job in jobs}
    total = 0.5 * sum(map(work, jobs))
    assert seconds(jobs, pace, 1) == pytest.approx(total)
    assert seconds(jobs, pace, 2) == pytest.approx(total / 2)
    assert seconds(jobs, pace, 10**6) == pytest.approx(0.5 * max(map(work, jobs)))
    assert seconds([], pace, 2) == 0.0


def test_more_clusters_are_more_work():
    job = jobs_of()[0]
    trial = job.trials[0]
    of = {k: job._replace(trials=(trial._replace(setting=Setting("gmm", k, "full")),)) for k in (5, 15)}
    assert work(of[15]) == 3 * work(of[5])


def test_what_a_process_holds_is_seen():
    before = resident()
    held = np.ones(40_000_000)
    after = resident()
    assert before.now + 250 < after.now <= after.peak
    del held
    assert resident().peak >= after.peak - 1
