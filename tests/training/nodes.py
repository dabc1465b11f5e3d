"""Training on nodes, one of which is lost: ``python -m tests.training.nodes ROOT WORKERS MIN_WORKERS NODES``.

The head has no CPU to give, each node one. The last worker notes its node at step 20 and waits for its end.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster

from distspec.stages import train as train_module
from distspec.stages.config import RayConfig
from distspec.stages.session import ray_session
from distspec.stages.train import train
from tests.training import driver
from tests.training.build_store import SMALL

STEP = 20


def note_node(given: dict[str, Any]) -> None:
    """Say on which node this worker is, and wait for it to be lost."""
    node = ray.get_runtime_context().get_node_id()
    Path(f"{given['task'].root}/node").write_text(node)
    time.sleep(600)


def main(root: str, workers: str, min_workers: str, n_nodes: str) -> None:
    driver.POINTS["lost"] = driver.before_step(note_node, int(workers) - 1)
    train_module._train_worker = driver.hurt([f"lost@{STEP}"])
    with tempfile.TemporaryDirectory(prefix="ds-", dir="/tmp", ignore_cleanup_errors=True) as temporary:
        memory = {"object_store_memory": 80_000_000}
        head = {"num_cpus": 0, "temp_dir": temporary, "include_dashboard": False, **memory}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        nodes = [cluster.add_node(num_cpus=1, **memory) for _ in range(int(n_nodes))]
        cluster.wait_for_nodes()
        noted = Path(f"{root}/node")

        def lose() -> None:
            while not (noted.exists() and noted.read_text()):
                time.sleep(0.1)
            (lost,) = [node for node in nodes if node.node_id == noted.read_text()]
            cluster.remove_node(lost, allow_graceful=False)
            print("a node is lost", flush=True)

        threading.Thread(target=lose, daemon=True).start()
        with ray_session(RayConfig(address=cluster.address)):
            settings = driver.config(int(workers), min_workers=int(min_workers))
            print(train(root, SMALL, settings, driver.SEED), flush=True)
        cluster.shutdown()


if __name__ == "__main__":
    os.environ.pop("RAY_ADDRESS", None)
    main(*sys.argv[1:])
