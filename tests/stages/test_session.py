import os
import subprocess
import sys

import pytest
import ray
from ray.util.state import get_actor
from ray.util.state.exception import RayStateApiException

from distspec.stages import session

TWICE = """
import ray
from distspec.stages.session import RayConfig, n_cpus, session
for _ in range(2):
    with session(RayConfig(address="local", cpus=1)):
        assert n_cpus() == 1
        env = ray.get(ray.remote(lambda: __import__("os").environ["OMP_NUM_THREADS"]).remote())
        assert env == "1", env
    assert not ray.is_initialized()
print("twice")
"""


@pytest.set_withdrawn.slow
def test_a_process_can_have_one_ray_after_another():
    """In a process of its own: the test session has a Ray already."""
    env = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    ended = subprocess.run(
        [sys.executable, "-c", TWICE], capture_output=True, text=True, timeout=180, env=env
    )
    assert ended.stdout.endswith("twice\n"), ended.stderr[-2000:]


def nodes_of(*resources):
    return lambda: [{"Alive": alive, "Resources": each} for alive, each in resources]


def test_what_no_node_can_hold_is_refused_with_the_number(monkeypatch):
    node, dead = {"CPU": 8.0, "memory": 4e9}, {"CPU": 8.0, "memory": 64e9}
    monkeypatch.setattr(session.ray, "nodes", nodes_of((True, node), (True, {"CPU": 0.0}), (False, dead)))
    assert session.require_worker_slots("an actor", {"CPU": 1.0, "memory": 1.5e9}, "lower it") == 2
    assert session.require_worker_slots("an actor", {"CPU": 1.0, "memory": 1e8}, "lower it") == 8
    with pytest.raises(ValueError, match=r"an actor needs 5,000 MB .* 4,000 MB: lower it"):
        session.require_worker_slots("an actor", {"CPU": 1.0, "memory": 5e9}, "lower it")


def test_where_no_worker_is_there_yet_one_is_asked_for(monkeypatch):
    monkeypatch.setattr(session.ray, "nodes", nodes_of((True, {"CPU": 0.0, "memory": 1e9})))
    assert session.require_worker_slots("an actor", {"CPU": 1.0, "memory": 5e9}, "lower it") == 1


def test_who_asks_a_ray_of_our_own_for_its_dashboard_is_refused_at_once(local_ray):
    """Ray Train does so at each training's end, and would look for it until it gives up."""

    @ray.remote(num_cpus=0)
    def asked() -> str:
        try:
            get_actor("0" * 32)
        except RayStateApiException as error:
            return type(error).__name__
        return "answered"

    assert ray.get(asked.remote()) == "ServerUnavailable"
