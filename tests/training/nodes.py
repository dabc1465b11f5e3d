"""Training on nodes, one of which is lost: ``python -m tests.training.nodes ROOT WORKERS MIN_WORKERS NODES``.

The head node has no CPU for tasks, each other node has one. At step 20 the last worker reports its node
and waits.
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

from distspec.stages import train_workers
from distspec.stages.config import RayConfig
from distspec.stages.session import ray_session
from distspec.stages.train import train
from tests.training import driver
from tests.training.build_store import SMALL

STEP = 20


def report_node_and_wait(worker_config: dict[str, Any]) -> None:
    """Write this worker's node to a file, and wait for the node to be lost."""
    node = ray.get_runtime_context().get_node_id()
    Path(f"{worker_config['task'].root}/node").write_text(node)
    time.sleep(600)


def main(root: str, workers: str, min_workers: str, n_nodes: str) -> None:
    driver.FAULTS["lost"] = driver.fault_before_step(report_node_and_wait, int(workers) - 1)
    train_workers.train_worker = driver.inject_faults([f"lost@{STEP}"])
    with tempfile.TemporaryDirectory(prefix="ds-", dir="/tmp", ignore_cleanup_errors=True) as temporary:
        memory = {"object_store_memory": 80_000_000}
        head = {"num_cpus": 0, "temp_dir": temporary, "include_dashboard": False, **memory}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        nodes = [cluster.add_node(num_cpus=1, **memory) for _ in range(int(n_nodes))]
        cluster.wait_for_nodes()
        reported = Path(f"{root}/node")

        def remove_reported_node() -> None:
            while not (reported.exists() and reported.read_text()):
                time.sleep(0.1)
            (lost,) = [node for node in nodes if node.node_id == reported.read_text()]
            cluster.remove_node(lost, allow_graceful=False)
            print("a node is lost", flush=True)

        threading.Thread(target=remove_reported_node, daemon=True).start()
        with ray_session(RayConfig(address=cluster.address)):
            settings = driver.make_config(int(workers), min_workers=int(min_workers))
            print(train(root, SMALL, settings, driver.SEED), flush=True)
        cluster.shutdown()


if __name__ == "__main__":
    os.environ.pop("RAY_ADDRESS", None)
    main(*sys.argv[1:])
