"""Training with injected faults: ``python -m tests.training.driver ROOT WORKERS ORDER FAULT …``

ORDER is cached or streamed. A fault is ``name@step``: see `FAULTS`. Each occurs once per root. The fault
``controller@delay`` sends the driver SIGTERM this long after Ray Train's controller has started [s].
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ray

from distspec.io.lease import hold_lease
from distspec.stages import train_workers
from distspec.stages.config import RayConfig
from distspec.stages.session import ray_session
from distspec.stages.train import train
from distspec.training import checkpoint_files as checkpoints
from distspec.training import trainer
from distspec.training.config import TrainingConfig
from tests.training.build_store import SMALL

N_SPECTRA = 400
SEED = 7
CHECKPOINT_STEPS = 8
"""Steps between checkpoints; an epoch has five."""

real_worker = train_workers.train_worker


def make_config(workers: int, order: str = "cached", **other: Any) -> TrainingConfig:
    """Return settings of a short training: ten epochs of about five steps."""
    settings = {
        "learning_rate": 1e-3,
        "max_epochs": 10,
        "checkpoint_interval_steps": CHECKPOINT_STEPS,
        "shuffle_window_chunks": 4,
    }
    settings |= {"cache_mb": 0.0} if order == "streamed" else {}
    return TrainingConfig(workers=workers, **(settings | other))


def mark_once(root: str, fault: str) -> bool:
    """Return whether a fault has not occurred yet under this root, and mark that it has."""
    try:
        os.close(os.open(f"{root}/fault-{fault}", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def kill_worker(worker_config: dict[str, Any]) -> None:
    """Kill this worker."""
    os.kill(os.getpid(), signal.SIGKILL)


def kill_driver(worker_config: dict[str, Any]) -> None:
    """Kill the driver, and wait until Ray ends this worker as well."""
    os.kill(worker_config["driver"], signal.SIGKILL)
    time.sleep(600)


def fault_before_step(act: Callable[[dict[str, Any]], None], rank: int) -> Callable[..., None]:
    """Return a function that installs a fault before a step of a worker."""

    def install(worker_config: dict[str, Any], fault: str, step: int) -> None:
        real = trainer.train_step

        def take_step(state: Any, batch: Any, config: Any, process_group: Any, weight: float) -> Any:
            if (
                process_group.rank == rank
                and state.step == step
                and mark_once(worker_config["task"].root, fault)
            ):
                act(worker_config)
            return real(state, batch, config, process_group, weight)

        trainer.train_step = take_step

    return install


def fault_in_checkpoint(act: Callable[[dict[str, Any]], None], function: str) -> Callable[..., None]:
    """Return a function that installs a fault when worker 0 writes a file of a checkpoint."""

    def install(worker_config: dict[str, Any], fault: str, step: int) -> None:
        real: Callable[..., Any] = getattr(checkpoints, function)

        def write(url: str, *content: Any) -> Any:
            is_there = f"/{step:010d}/" in url and not url.endswith("worker-1.safetensors")
            if is_there and mark_once(worker_config["task"].root, fault):
                act(worker_config)
            return real(url, *content)

        setattr(checkpoints, function, write)

    return install


FAULTS: dict[str, Callable[..., None]] = {
    "worker": fault_before_step(kill_worker, 0),
    "other worker": fault_before_step(kill_worker, 1),
    "worker in checkpoint": fault_in_checkpoint(kill_worker, "write_json"),
    "driver": fault_before_step(kill_driver, 0),
    "driver at checkpoint": fault_in_checkpoint(kill_driver, "write_bytes"),
    "driver in checkpoint": fault_in_checkpoint(kill_driver, "write_json"),
}


def inject_faults(faults: Sequence[str]) -> Callable[[dict[str, Any]], str]:
    """Return the worker's function with faults installed."""
    driver = os.getpid()

    def worker(worker_config: dict[str, Any]) -> str:
        for fault in faults:
            name, _, step = fault.partition("@")
            FAULTS[name]({**worker_config, "driver": driver}, fault, int(step))
        return real_worker(worker_config)

    return worker


def terminate_driver(delay: float) -> None:
    """Send SIGTERM to this process when a delay [s] has passed since the start of Ray Train's controller."""

    def has_started() -> bool:
        actors = ray._private.state.actors().values() if ray.is_initialized() else ()
        running = [actor["ActorClassName"] for actor in actors if actor["State"] == "ALIVE"]
        return any("TrainController" in name for name in running)

    while not has_started():
        time.sleep(0.001)
    time.sleep(delay)
    os.kill(os.getpid(), signal.SIGTERM)


def main(root: str, workers: str, order: str, *faults: str) -> None:
    worker_faults = [fault for fault in faults if not fault.startswith("controller@")]
    for fault in set(faults) - set(worker_faults):
        delay = float(fault.partition("@")[2])
        threading.Thread(target=terminate_driver, args=(delay,), daemon=True).start()
    train_workers.train_worker = inject_faults(worker_faults)
    server = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    with hold_lease(root, "train") as lease, ray_session(RayConfig(), server):
        assert lease.token
        print(train(root, SMALL, make_config(int(workers), order), SEED), flush=True)


def read_marks(root: str) -> set[str]:
    """Return the faults that have occurred under a root."""
    return {path.name.removeprefix("fault-") for path in Path(root).glob("fault-*")}


if __name__ == "__main__":
    main(*sys.argv[1:])
