"""A pool of actors grows with the cluster and survives failing actors; `map_ordered` bounds running tasks."""

from __future__ import annotations

import os
import signal
import time
from itertools import cycle
from pathlib import Path

import pytest
import ray

from distspec.stages import pool as pool_module
from distspec.stages.pool import ActorPool, map_ordered


@ray.remote(num_cpus=0.1, max_restarts=10, max_task_retries=3)
class Worker:
    def square(self, item: int) -> tuple[int, int]:
        time.sleep(0.05)
        return item * item, os.getpid()

    def hang(self, folder: str) -> str:
        """Hang at the first call."""
        if not Path(folder, "hung").exists():
            Path(folder, "hung").touch()
            time.sleep(600)
        return "done"

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def start_worker():
    return Worker.remote()


def start_unplaceable():
    return Worker.options(num_cpus=1000).remote()


@pytest.fixture(scope="module")
def pool(local_ray):
    """A pool of two actors, which all tests may kill: Ray restarts them."""
    actors = ActorPool(start_worker, 2)
    yield actors
    actors.shutdown()


def test_items_are_shared_by_all_actors(pool):
    while len(pool.wait_ready()) < 2:
        time.sleep(0.1)
    results = dict(pool.map_unordered(lambda actor, item: actor.square.remote(item), range(12)))
    assert {item: square for item, (square, _) in results.items()} == {i: i * i for i in range(12)}
    assert len({pid for _, pid in results.values()}) == 2


def test_map_keeps_the_order(pool):
    results = pool.map(lambda actor, item: actor.square.remote(item), range(7, 0, -1))
    assert [square for square, _ in results] == [i * i for i in range(7, 0, -1)]
    assert pool.map(lambda actor, item: actor.square.remote(item), []) == []


def test_number_of_actors_is_limited_by_work_and_slots(local_ray):
    for most, cpus, expected in ((1, 8, 1), (5, 2, 2)):
        pool = ActorPool(start_worker, most, lambda cpus=cpus: cpus)
        while len(pool.wait_ready()) < expected:
            time.sleep(0.1)
        assert len(pool.wait_ready()) == expected
        pool.shutdown()


def test_actors_that_never_start_delay_nothing(local_ray, monkeypatch):
    """An autoscaling cluster is asked for more actors than it has slots for."""
    monkeypatch.setattr(pool_module, "can_autoscale", lambda: True)
    started = []
    starters = cycle((start_worker, start_unplaceable))

    def start():
        started.append(next(starters)())
        return started[-1]

    pool = ActorPool(start, 9, lambda: 1)
    results = dict(pool.map_unordered(lambda actor, item: actor.square.remote(item), range(6)))
    assert sorted(results) == list(range(6))
    assert len(started) == 2
    assert len(pool.wait_ready()) == 1
    pool.shutdown()


def test_actors_are_added_while_work_goes_on(local_ray, monkeypatch):
    cpus = [1]
    monkeypatch.setattr(pool_module, "POLL_SECONDS", 0.1)
    pool = ActorPool(start_worker, 9, lambda: cpus[0])
    pids = set()
    for done, (_, (_, pid)) in enumerate(
        pool.map_unordered(lambda actor, item: actor.square.remote(item), range(1200))
    ):
        cpus[0] = 1 if done < 3 else 2
        pids.add(pid)
        if len(pids) == 2:
            break
    assert len(pids) == 2
    pool.shutdown()


def test_dead_actors_are_replaced(pool):
    victim = pool.wait_ready()[0]
    victim.die.options(max_task_retries=0).remote()
    results = dict(pool.map_unordered(lambda actor, item: actor.square.remote(item), range(8)))
    assert sorted(results) == list(range(8))


def test_hanging_actors_are_restarted(pool, monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(pool_module, "HANG_TIMEOUT_SECONDS", 5.0)
    assert pool.map(lambda actor, item: actor.hang.remote(item), [str(tmp_path)]) == ["done"]
    assert "has not answered" in caplog.text


@ray.remote(num_cpus=0)
def slow_first(i: int, folder: Path) -> int:
    """Return `i`; the first task waits until the fourth has run."""
    end = time.monotonic() + 60.0
    while i == 0 and not (folder / "3").exists() and time.monotonic() < end:
        time.sleep(0.05)
    (folder / str(i)).touch()
    return i


def test_results_come_in_order_of_the_items(local_ray, tmp_path):
    def submit(i: int):
        return slow_first.remote(i, tmp_path)

    assert list(map_ordered(submit, range(12), lambda: 4)) == list(range(12))


def test_number_of_held_results_is_bounded(local_ray, tmp_path):
    submitted = 0

    def submit(i: int):
        nonlocal submitted
        submitted += 1
        return slow_first.remote(i, tmp_path)

    held = 0
    for taken, _ in enumerate(map_ordered(submit, range(20), lambda: 3)):
        held = max(held, submitted - taken)
    assert submitted == 20
    assert 3 < held <= 2 * 3, "others run while the first is waited for, within the bound"


def test_number_of_running_tasks_is_bounded(local_ray, tmp_path):
    @ray.remote(num_cpus=0)
    def count(i: int) -> int:
        (tmp_path / str(i)).touch()
        time.sleep(0.05)
        running = len(list(tmp_path.iterdir()))
        (tmp_path / str(i)).unlink()
        return running

    assert max(map_ordered(count.remote, range(12), lambda: 2)) <= 2


def test_no_items_give_no_results(local_ray, tmp_path):
    assert list(map_ordered(lambda i: slow_first.remote(i, tmp_path), [], lambda: 3)) == []
