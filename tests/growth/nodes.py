"""Ingest on three nodes, one of which is lost on the way: ``python -m tests.growth.nodes ROOT FOLDER``."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from distspec.ingest.commit import Committer
from distspec.ingest.source import ArchiveSource
from distspec.preprocessing.resampling import GridConfig
from distspec.stages.config import RayConfig
from distspec.stages.ingest import ingest
from distspec.stages.session import ray_session
from distspec.store import store
from tests.growth import driver

N_PIXELS = 2048
FILES_A_TASK = 8
"""So many rows weigh more than the 100 kB that Ray keeps with the driver: they are lost with their node."""


def source(folder: Path | str) -> ArchiveSource:
    """Return what is ingested."""
    return replace(driver.source(folder, FILES_A_TASK), grid=GridConfig(n_pixels=N_PIXELS))


def small_chunks() -> int:
    """Return the size of a chunk [bytes] of sixteen rows."""
    return 4 * N_PIXELS * driver.CHUNK_ROWS


def main(root: str, folder: str) -> None:
    store.CHUNK_BYTES = small_chunks()
    with tempfile.TemporaryDirectory(prefix="ds-", dir="/tmp", ignore_cleanup_errors=True) as temporary:
        one = {"num_cpus": 1, "object_store_memory": 80_000_000}
        cluster = Cluster(
            initialize_head=True, head_node_args={**one, "temp_dir": temporary, "include_dashboard": False}
        )
        nodes = [cluster.add_node(**one) for _ in range(2)]
        cluster.wait_for_nodes()

        def lose_a_node() -> None:
            print(f"nodes {alive()}", flush=True)
            cluster.remove_node(nodes[0], allow_graceful=False)

        driver.patch(Committer, "add", 1, lose_a_node, driver.nothing)
        with ray_session(RayConfig(address=cluster.address)):
            print(ingest(root, source(folder)), flush=True)
            while alive() > 2:  # Ray may not have noticed yet; the test's patience is bounded
                time.sleep(0.5)
            print(f"nodes {alive()}", flush=True)
        cluster.shutdown()


def alive() -> int:
    return sum(node["Alive"] for node in ray.nodes())


if __name__ == "__main__":
    os.environ.pop("RAY_ADDRESS", None)
    main(*sys.argv[1:])
