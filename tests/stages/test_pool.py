"""Actors share work as they come; one that never comes, or dies, holds nothing up."""

from __future__ import annotations

import os
import signal
import time
from itertools import cycle
from pathlib import Path

import pytest
import ray

from distspec.stages import pool as module
from distspec.stages.pool import ActorPool


@ray.remote(num_cpus=0.1, max_restarts=10, max_task_retries=3)
class Hand:
    def work(self, item: int) -> tuple[int, int]:
        time.sleep(0.05)
        return item * item, os.getpid()

    def hang(self, folder: str) -> str:
        """Hang, the first time."""
        if not Path(folder, "hung").exists():
            Path(folder, "hung").touch()
            time.sleep(600)
        return "done"

    def fall(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def hand():
    return Hand.remote()


def never():
    return Hand.options(num_cpus=1000).remote()


@pytest.fixture
def crew(local_ray):
    found = ActorPool(hand, 2)
    yield found
    found.shutdown()


def test_all_that_there_is_gets_done_by_everybody(crew):
    while len(crew.wait_ready()) < 2:
        time.sleep(0.1)
    found = dict(crew.map_unordered(lambda actor, item: actor.work.remote(item), range(12)))
    assert {item: square for item, (square, _) in found.items()} == {i: i * i for i in range(12)}
    assert len({pid for _, pid in found.values()}) == 2


def test_in_order_where_asked(crew):
    made = crew.map(lambda actor, item: actor.work.remote(item), range(7, 0, -1))
    assert [square for square, _ in made] == [i * i for i in range(7, 0, -1)]
    assert crew.map(lambda actor, item: actor.work.remote(item), []) == []


def test_no_more_than_there_is_work_or_room_for(local_ray):
    for most, cpus, expected in ((1, 8, 1), (5, 3, 3)):
        crew = ActorPool(hand, most, lambda cpus=cpus: cpus)
        while len(crew.wait_ready()) < expected:
            time.sleep(0.1)
        assert len(crew.wait_ready()) == expected
        crew.shutdown()


def test_who_never_comes_holds_nothing_up(local_ray, monkeypatch):
    """As a machine that a cloud has not got: more are asked for where a cluster may grow."""
    monkeypatch.setattr(module, "can_autoscale", lambda: True)
    hired = []
    kinds = cycle((hand, never))

    def hire():
        hired.append(next(kinds)())
        return hired[-1]

    crew = ActorPool(hire, 9, lambda: 1)
    found = dict(crew.map_unordered(lambda actor, item: actor.work.remote(item), range(6)))
    assert sorted(found) == list(range(6))
    assert len(hired) == 2
    assert len(crew.wait_ready()) == 1
    crew.shutdown()


def test_more_join_while_work_goes_on(local_ray, monkeypatch):
    cpus = [1]
    monkeypatch.setattr(module, "POLL_SECONDS", 0.1)
    crew = ActorPool(hand, 9, lambda: cpus[0])
    pids = set()
    for done, (_, (_, pid)) in enumerate(
        crew.map_unordered(lambda actor, item: actor.work.remote(item), range(120))
    ):
        cpus[0] = 1 if done < 3 else 3
        pids.add(pid)
    assert len(pids) == 3
    crew.shutdown()


def test_who_dies_is_replaced(crew):
    fallen = crew.wait_ready()[0]
    fallen.fall.options(max_task_retries=0).remote()
    found = dict(crew.map_unordered(lambda actor, item: actor.work.remote(item), range(8)))
    assert sorted(found) == list(range(8))


def test_who_hangs_is_started_again(crew, monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(module, "HANG_TIMEOUT_SECONDS", 2.0)
    assert crew.map(lambda actor, item: actor.hang.remote(item), [str(tmp_path)]) == ["done"]
    assert "silent" in caplog.text
