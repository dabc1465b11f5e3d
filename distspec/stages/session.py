"""Being connected to Ray: to the cluster a job was submitted to, or to one of our own on this machine."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import ray

from distspec.stages.config import RayConfig

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
# One thread a worker: parallelism is Ray's, and oversubscribed BLAS stalls everything.
WORKER_ENV = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
NO_ENV_VARS: Mapping[str, str] = {}
NO_DASHBOARD_ENV = {"RAY_API_SERVER_ADDRESS": "http://127.0.0.1:9"}
"""Of a Ray without a dashboard: Ray Train asks it, and looks for it for 12 s where it is not told."""
LOCAL_RAY_VARIABLE = "DISTSPEC_RAY_OF_OUR_OWN"
"""Set in the environment of whoever uses a Ray that `session` has started."""


@contextmanager
def ray_session(config: RayConfig, env_vars: Mapping[str, str] = NO_ENV_VARS) -> Generator[None]:
    """Be connected to Ray; a connection or a Ray that this opened is closed at the end.

    Parameters
    ----------
    config : RayConfig
    env_vars : mapping
        Environment variables of every worker.
    """
    if ray.is_initialized():
        yield
        return
    address = config.address or os.environ.get("RAY_ADDRESS") or "local"
    here: dict[str, Any] = {}
    if address == "local":
        here = {
            "num_cpus": config.num_cpus or None,
            "include_dashboard": False,
            "_temp_dir": config.temp_dir or None,
        }
        env_vars = {**NO_DASHBOARD_ENV, **env_vars}
        # Nobody takes this machine away from itself.
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
        os.environ[LOCAL_RAY_VARIABLE] = "1"
    else:
        os.environ.pop(LOCAL_RAY_VARIABLE, None)  # what has started this process may use a Ray of its own
    told_to_end = signal.getsignal(signal.SIGTERM)  # Ray puts a handler of its own in its place
    ray.init(
        address=address,
        logging_level=logging.WARNING,
        runtime_env={
            "env_vars": {**WORKER_ENV, **env_vars},
            "worker_process_setup_hook": f"{__name__}.quiet",
        },
        **here,
    )
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, told_to_end)
    try:
        yield
    finally:
        ray.shutdown()
        os.environ.pop(LOCAL_RAY_VARIABLE, None)


def silence_ray_train_logs() -> None:
    """Keep Ray Train's own announcements, and its complaint about a missing dashboard, out of our log."""
    logging.getLogger("ray.train.v2").setLevel(logging.ERROR)


def n_cpus() -> int:
    """Return the CPUs of the cluster."""
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def default_max_in_flight() -> int:
    """Return how many tasks keep the cluster's CPUs busy; those that wait make it grow where it can."""
    return 2 * n_cpus()


ACTORS_PER_GPU = 4
"""They take turns at it, so that the device does not wait."""


def n_gpus() -> int:
    """Return the GPUs of the cluster."""
    return int(ray.cluster_resources().get("GPU", 0))


def count_worker_slots(resources: Mapping[str, float]) -> int:
    """Return how many workers the nodes that are there can hold, of so many "CPU", "GPU" … each."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(min(int(node.get(name, 0.0) / need) for name, need in resources.items()) for node in nodes)


def require_worker_slots(worker_name: str, resources: Mapping[str, float], remedy: str) -> int:
    """Return for how many of `worker_name` there is room, of so many "CPU", "GPU" and bytes of "memory" each.

    At least 1 where no node is there yet: what is asked for makes a cluster grow.

    Parameters
    ----------
    worker_name : str
        Its name, for the error.
    resources : mapping
    remedy : str
        What to do about it, for the error.

    Raises
    ------
    ValueError
        When nodes are there and not one of them has so much memory.
    """
    there = count_worker_slots(resources)
    memory = [node["Resources"].get("memory", 0.0) for node in ray.nodes() if _is_worker_node(node)]
    need = resources.get("memory", 0.0)
    if memory and max(memory) < need:
        raise ValueError(
            f"{worker_name} needs {need / 1e6:,.0f} MB of memory, and the largest node gives Ray "
            f"{max(memory) / 1e6:,.0f} MB: {remedy}, or use larger nodes"
        )
    return max(1, there)


def _is_worker_node(node: Mapping[str, Any]) -> bool:
    return node["Alive"] and node["Resources"].get("CPU", 0.0) >= 1.0


def can_autoscale() -> bool:
    """Tell whether nodes may join: never a Ray of our own, and of another nobody knows."""
    return LOCAL_RAY_VARIABLE not in os.environ
