"""Training, killed on the way: ``python -m tests.training.driver ROOT WORKERS ORDER POINT …``

ORDER is cached or streamed. A point is ``who@step``: see `POINTS`. Each befalls a root once.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from distspec.io.lease import hold_lease
from distspec.stages import train as train_module
from distspec.stages.config import RayConfig
from distspec.stages.session import ray_session
from distspec.stages.train import train
from distspec.training import checkpoint_files as checkpoints
from distspec.training import trainer
from distspec.training.config import TrainingConfig
from tests.training.build_store import SMALL

N_SPECTRA = 400
SEED = 7
EVERY = 8
"""Steps between checkpoints; an epoch has five."""

real_worker = train_module._train_worker


def config(workers: int, order: str = "cached", **other: Any) -> TrainingConfig:
    """Return a short training: ten epochs of five or so steps."""
    settings = {
        "learning_rate": 1e-3,
        "max_epochs": 10,
        "checkpoint_interval_steps": EVERY,
        "shuffle_window_chunks": 4,
    }
    settings |= {"cache_mb": 0.0} if order == "streamed" else {}
    return TrainingConfig(workers=workers, **(settings | other))


def once(root: str, point: str) -> bool:
    """Tell whether a point has not come yet under this root, and mark it."""
    try:
        os.close(os.open(f"{root}/came-{point}", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def kill_me(given: dict[str, Any]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_driver(given: dict[str, Any]) -> None:
    """End the driver, and do nothing more until Ray ends this worker, too."""
    os.kill(given["driver"], signal.SIGKILL)
    time.sleep(600)


def before_step(act: Callable[[dict[str, Any]], None], rank: int) -> Callable[..., None]:
    """Act when a worker is about to take a step."""

    def install(given: dict[str, Any], point: str, step: int) -> None:
        real = trainer.train_step

        def take_step(state: Any, batch: Any, config: Any, team: Any, weight: float) -> Any:
            if team.rank == rank and state.step == step and once(given["task"].root, point):
                act(given)
            return real(state, batch, config, team, weight)

        trainer.train_step = take_step

    return install


def in_checkpoint(act: Callable[[dict[str, Any]], None], function: str) -> Callable[..., None]:
    """Act when worker 0, within a checkpoint, comes to writing one of its files."""

    def install(given: dict[str, Any], point: str, step: int) -> None:
        real: Callable[..., Any] = getattr(checkpoints, function)

        def write(url: str, *what: Any) -> Any:
            is_there = f"/{step:010d}/" in url and not url.endswith("worker-1.safetensors")
            if is_there and once(given["task"].root, point):
                act(given)
            return real(url, *what)

        setattr(checkpoints, function, write)

    return install


POINTS: dict[str, Callable[..., None]] = {
    "worker": before_step(kill_me, 0),
    "other worker": before_step(kill_me, 1),
    "worker in checkpoint": in_checkpoint(kill_me, "write_json"),
    "driver": before_step(kill_driver, 0),
    "driver at checkpoint": in_checkpoint(kill_driver, "write_bytes"),
    "driver in checkpoint": in_checkpoint(kill_driver, "write_json"),
}


def hurt(points: Sequence[str]) -> Callable[[dict[str, Any]], str]:
    """Return a worker's function that these points befall."""
    driver = os.getpid()

    def worker(given: dict[str, Any]) -> str:
        for point in points:
            name, _, step = point.partition("@")
            POINTS[name]({**given, "driver": driver}, point, int(step))
        return real_worker(given)

    return worker


def main(root: str, workers: str, order: str, *points: str) -> None:
    train_module._train_worker = hurt(points)
    server = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    with hold_lease(root, "train") as lease, ray_session(RayConfig(), server):
        assert lease.token
        print(train(root, SMALL, config(int(workers), order), SEED), flush=True)


def marks(root: str) -> set[str]:
    """Return which points have come under a root."""
    return {path.name.removeprefix("came-") for path in Path(root).glob("came-*")}


if __name__ == "__main__":
    main(*sys.argv[1:])
