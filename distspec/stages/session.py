"""Sessions of Ray: connect to a cluster, or start a local Ray; capacity of its nodes."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import ObjectStoreFullError, OutOfDiskError

from distspec.core.errors import ConfigError, StorageError
from distspec.io.storage import StorageConfig, get_storage, set_storage
from distspec.stages.config import RayConfig

log = logging.getLogger("distspec")
WORKER_ENV: Mapping[str, str] = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
"""Environment of the workers: one thread each, because Ray runs one worker per CPU."""
LOCAL_WORKER_ENV: Mapping[str, str] = {"RAY_API_SERVER_ADDRESS": "http://127.0.0.1:9"}
"""Environment of the workers of a local Ray, without which Ray Train looks for a dashboard for 12 s."""
DRIVER_ENV: Mapping[str, str] = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_IGNORE_UNHANDLED_ERRORS": "1"}
"""Settings that Ray reads from the environment of the process that starts it.

The second one leaves out the tracebacks of tasks whose results nobody needs after another has failed.
"""
LOCAL_DRIVER_ENV: Mapping[str, str] = {
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_prestart_worker_first_driver": "0",
}
"""Settings of a local Ray: its only node is never reclaimed, and it starts no workers in advance.

Ray would start one for each CPU, without the environment that `ray_session` gives to workers, so that no task
could use them.
"""
SHARED_MEMORY = "/dev/shm"
"""Where Ray keeps its objects on Linux."""
TEMP_DIR_VARIABLES = ("RAY_TMPDIR", "TMPDIR")
"""Variables that name the folder for temporary files, in their order of precedence."""
NO_ENV_VARS: Mapping[str, str] = {}
START_TIMEOUT_MESSAGE = "timed out during startup"
"""Part of the message of Ray's error, which has no type of its own."""
CONNECT_TIMEOUT = 10.0
"""Time for a connection to the address of a cluster [s]."""
OBJECT_STORE_FAILURES = (ObjectStoreFullError, OutOfDiskError)
"""Errors of Ray if an object fits neither in shared memory nor on the disk."""
ACTORS_PER_GPU = 4
"""Actors that share a GPU, so that it computes for one while others read."""

_has_local_ray = False


@contextmanager
def ray_session(config: RayConfig, env_vars: Mapping[str, str] = NO_ENV_VARS) -> Generator[None]:
    """Be connected to Ray within the block; do nothing if the process is connected already.

    Workers get the storage settings that are active when it opens (`distspec.io.storage.use_storage`).

    Parameters
    ----------
    config : RayConfig
        Address of a cluster, or the size of a local Ray, which ends with the block.
    env_vars : mapping
        Additional environment variables of every worker.
    """
    if ray.is_initialized():
        yield
        return
    address = config.address or os.environ.get("RAY_ADDRESS") or "local"
    is_local = address == "local"
    check_cluster_address(address, "--ray.address" if config.address else "$RAY_ADDRESS")
    options: dict[str, Any] = {}
    if is_local:
        options = {
            "num_cpus": config.num_cpus or None,
            "include_dashboard": False,
            "_temp_dir": choose_temp_dir(config.temp_dir),
        }
        env_vars = {**LOCAL_WORKER_ENV, **env_vars}
    sigterm_handler = signal.getsignal(signal.SIGTERM)
    free_bytes = measure_shared_memory() if is_local else None
    logging.getLogger("ray._private.services").addFilter(_is_other_warning)
    with _default_environment({**DRIVER_ENV, **(LOCAL_DRIVER_ENV if is_local else {})}):
        try:
            _init_ray(
                address=address,
                logging_level=logging.WARNING,
                runtime_env={
                    "env_vars": {**WORKER_ENV, **env_vars},
                    "worker_process_setup_hook": _make_worker_setup(get_storage(), is_local),
                },
                **options,
            )
        except OSError as error:
            if "AF_UNIX" not in str(error):
                raise
            raise ConfigError(
                f"Ray cannot make its sockets ({error}): give a shorter path with --ray.temp-dir"
            ) from error
        if free_bytes is not None:
            warn_small_shared_memory(free_bytes, ray.cluster_resources().get("object_store_memory", 0.0))
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, sigterm_handler)  # ray.init installs its own
        was_local = _set_local_ray(is_local)
        try:
            with _object_store_errors():
                yield
        finally:
            ray.shutdown()
            _set_local_ray(was_local)


def _init_ray(**options: Any) -> None:
    """Start or join Ray; start it once more if its processes took longer than Ray's fixed limit of 30 s."""
    try:
        ray.init(**options)
    except Exception as error:
        if START_TIMEOUT_MESSAGE not in str(error):
            raise
        log.warning("Ray did not start in time, as on a busy machine: starting it again")
        ray.shutdown()
        ray.init(**options)


def check_cluster_address(address: str, source: str) -> None:
    """Raise an error if nothing answers at the address of a cluster; Ray itself tries for many minutes.

    Parameters
    ----------
    address : str
        Address as Ray takes it: "host:port" or "ray://host:port"; words such as "local" and "auto" are not
        checked.
    source : str
        Option or variable that gave the address, which the error names.

    Raises
    ------
    ConfigError
        If no connection is possible within `CONNECT_TIMEOUT`.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"no Ray cluster answers at {address} ({error}): start it, or change or unset {source}"
        ) from error


def choose_temp_dir(option: str) -> str:
    """Return the folder for the sessions and sockets of a local Ray, which Ray creates if it does not exist.

    Parameters
    ----------
    option : str
        Value of ``--ray.temp-dir``; empty: "ray" in $RAY_TMPDIR, $TMPDIR or /tmp, Ray's default.

    Returns
    -------
    str
        An absolute path: each process of Ray would take a relative one from its own working folder.

    Raises
    ------
    ConfigError
        If no file can be made there; the message names the option or the variable.
    """
    given = {"--ray.temp-dir": option, **{f"${name}": os.environ.get(name) for name in TEMP_DIR_VARIABLES}}
    source, path = next(((name, path) for name, path in given.items() if path), ("Ray's default", "/tmp"))
    folder = Path(path).expanduser().absolute()
    try:
        if option:
            folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ConfigError(
            f"{source} {folder}: no temporary file can be made there ({error.strerror}): create this folder, "
            "free some space, or name another one with --ray.temp-dir"
        ) from error
    return str(folder if option else folder / "ray")


def measure_shared_memory() -> int | None:
    """Return the free space of /dev/shm [bytes]; None if Ray does not use it on this system.

    Raises
    ------
    ConfigError
        If there is no /dev/shm, without which Ray does not start.
    """
    if not sys.platform.startswith("linux"):
        return None
    try:
        return shutil.disk_usage(SHARED_MEMORY).free
    except OSError as error:
        raise ConfigError(
            f"Ray keeps its objects in {SHARED_MEMORY} ({error.strerror}): mount a tmpfs there, or use a "
            "cluster with --ray.address"
        ) from error


def warn_small_shared_memory(free_bytes: float, store_bytes: float) -> None:
    """Warn if the objects of a local Ray do not fit in /dev/shm: Ray then keeps them in files.

    Parameters
    ----------
    free_bytes : float
        Free space of /dev/shm before Ray started [bytes].
    store_bytes : float
        Size of Ray's object store [bytes].
    """
    if free_bytes < store_bytes:
        log.warning(
            "%s has %.2g GB free, less than the %.2g GB of Ray's object store, which is therefore slow, in "
            "files of its temporary folder: free some space there, or give the container more (docker run "
            "--shm-size; in a pod, an emptyDir of medium Memory)",
            SHARED_MEMORY,
            free_bytes / 1e9,
            store_bytes / 1e9,
        )


@contextmanager
def _object_store_errors() -> Generator[None]:
    """Raise the error of a node that has no room for Ray's objects within the block as `StorageError`."""
    try:
        yield
    except OBJECT_STORE_FAILURES as error:
        raise StorageError(
            f"a node has no room for Ray's objects ({type(error).__name__}): free some space there in "
            f"{SHARED_MEMORY} and in Ray's temporary folder, or choose another with --ray.temp-dir"
        ) from error


def _is_other_warning(record: logging.LogRecord) -> bool:
    """Return False for Ray's own form of `warn_small_shared_memory`."""
    return f"instead of {SHARED_MEMORY}" not in record.getMessage()


@contextmanager
def _default_environment(defaults: Mapping[str, str]) -> Generator[None]:
    """Set environment variables that are not set within the block."""
    added = {name: value for name, value in defaults.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _make_worker_setup(storage: StorageConfig, is_local: bool) -> Callable[[], None]:
    """Return the function that every worker process runs before its first task."""

    def set_up_worker() -> None:
        set_storage(storage)
        _set_local_ray(is_local)
        silence_ray_train_logs()

    return set_up_worker


def silence_ray_train_logs() -> None:
    """Keep Ray Train's own messages, such as that it finds no dashboard, out of the log."""
    logging.getLogger("ray.train.v2").setLevel(logging.ERROR)


def can_autoscale() -> bool:
    """Return whether nodes may join the cluster: never with a local Ray, and always assumed with another."""
    return not _has_local_ray


def _set_local_ray(is_local: bool) -> bool:
    """Set whether the session's Ray is a local one, and return the previous value."""
    global _has_local_ray
    previous, _has_local_ray = _has_local_ray, is_local
    return previous


def n_cpus() -> int:
    """Return the number of CPUs of the cluster, at least 1."""
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def default_max_in_flight() -> int:
    """Return the number of tasks to submit at a time; tasks that wait for a CPU make a cluster grow."""
    return 2 * n_cpus()


def n_gpus() -> int:
    """Return the number of GPUs of the cluster."""
    return int(ray.cluster_resources().get("GPU", 0))


def count_worker_slots(resources: Mapping[str, float]) -> int:
    """Return how many workers the present nodes can hold.

    Parameters
    ----------
    resources : mapping
        What each worker needs of "CPU", "GPU" and other resources of Ray.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(min(int(node.get(name, 0.0) / need) for name, need in resources.items()) for node in nodes)


def require_worker_slots(worker_name: str, resources: Mapping[str, float], remedy: str) -> int:
    """Return how many workers the present nodes can hold, at least 1: pending workers make a cluster grow.

    Parameters
    ----------
    worker_name : str
        What the worker is called in the error.
    resources : mapping
        What each worker needs of "CPU", "GPU" and "memory" [bytes].
    remedy : str
        What the error proposes.

    Raises
    ------
    ConfigError
        If there are nodes and none of them has the memory of one worker.
    """
    n_slots = count_worker_slots(resources)
    node_memory = [node["Resources"].get("memory", 0.0) for node in ray.nodes() if _is_worker_node(node)]
    need = resources.get("memory", 0.0)
    if node_memory and max(node_memory) < need:
        raise ConfigError(
            f"{worker_name} needs {need / 1e6:,.0f} MB of memory, and the largest node gives Ray "
            f"{max(node_memory) / 1e6:,.0f} MB: {remedy}, or use larger nodes"
        )
    return max(1, n_slots)


def _is_worker_node(node: Mapping[str, Any]) -> bool:
    return node["Alive"] and node["Resources"].get("CPU", 0.0) >= 1.0
