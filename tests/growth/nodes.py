"""Ingest on three nodes, one of which is lost: ``python -m tests.growth.nodes ROOT FOLDER``."""

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
from distspec.store import store as store_module
from tests.growth import driver

N_PIXELS = 2048
FILES_PER_TASK = 8
"""The block of so many rows exceeds the 100 kB that Ray keeps with the driver, and is lost with its node."""


def wide_source(folder: Path | str) -> ArchiveSource:
    """Return the source that is ingested."""
    return replace(driver.killed_source(folder, FILES_PER_TASK), grid=GridConfig(n_pixels=N_PIXELS))


def chunk_bytes() -> int:
    """Return the size of a chunk [bytes] of sixteen rows."""
    return 4 * N_PIXELS * driver.CHUNK_ROWS


def main(root: str, folder: str) -> None:
    store_module.CHUNK_BYTES = chunk_bytes()
    with tempfile.TemporaryDirectory(prefix="ds-", dir="/tmp", ignore_cleanup_errors=True) as temporary:
        resources = {"num_cpus": 1, "object_store_memory": 80_000_000}
        cluster = Cluster(
            initialize_head=True,
            head_node_args={**resources, "temp_dir": temporary, "include_dashboard": False},
        )
        nodes = [cluster.add_node(**resources) for _ in range(2)]
        cluster.wait_for_nodes()

        def lose_node() -> None:
            print(f"nodes {count_alive()}", flush=True)
            cluster.remove_node(nodes[0], allow_graceful=False)

        driver.patch(Committer, "add", 1, lose_node, driver.nothing)
        with ray_session(RayConfig(address=cluster.address)):
            print(ingest(root, wide_source(folder)), flush=True)
            while count_alive() > 2:  # until Ray has noticed; the test has a timeout
                time.sleep(0.5)
            print(f"nodes {count_alive()}", flush=True)
        cluster.shutdown()


def count_alive() -> int:
    return sum(node["Alive"] for node in ray.nodes())


if __name__ == "__main__":
    os.environ.pop("RAY_ADDRESS", None)
    main(*sys.argv[1:])
