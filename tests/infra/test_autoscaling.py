"""Ray's autoscaler adds simulated nodes during a sweep and removes them afterwards.

`ray.cluster_utils.AutoscalingCluster` is not used, because it calls ``ray stop``, which stops every Ray on
this host, and needs a file that is not in Ray's wheels.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from ray._private.services import get_node_ip_address
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID

from tests.cluster.nodes import REPOSITORY, make_environment, start
from tests.helpers.seaweed import free_ports
from tests.infra import simulated_nodes

HEAD = "ray.head.default"
MAX_NODES, IDLE_MINUTES = 2, 0.1
"""Largest number of nodes besides the head, and time after which an idle node is removed [min]."""
DRIVER = """
import json, sys, threading, time
import numpy as np, ray
from distspec.clustering.config import ClusteringConfig
from distspec.clustering.feature_space import ClusteringInputs
from distspec.stages.cluster import cluster_spectra
from distspec.stages.config import RayConfig
from distspec.stages.session import ray_session

def count_alive():
    return sum(node["Alive"] for node in ray.nodes())

most = 1 + int(sys.argv[3])
points = np.random.default_rng(0).normal(size=(2000, 4)).astype(np.float32)
config = ClusteringConfig(spaces=("latents",), k_min=2, k_max=6, n_seeds=6)
seen, over = [], threading.Event()

def watch():
    while not over.wait(0.2):
        seen.append(count_alive())

with ray_session(RayConfig(address=sys.argv[1])):
    before = count_alive()
    watcher = threading.Thread(target=watch)
    watcher.start()
    for sweep in range(4):  # on a busy machine the first may end before all nodes have joined
        inputs = ClusteringInputs(points, np.zeros((2000, 0), np.float32))
        result = cluster_spectra([inputs], config, 0, f"{sys.argv[2]}/{sweep}")
        if max(seen) >= most:
            break
    over.set()
    watcher.join()
    until = time.monotonic() + 90.0
    while count_alive() > 1 and time.monotonic() < until:
        time.sleep(0.2)
    n_trials = len(result.sweep.trial_results)
    print(json.dumps({"before": before, "most": max(seen), "after": count_alive(), "trials": n_trials}))
"""


@pytest.mark.slow
def test_nodes_are_added_for_a_sweep_and_removed_afterwards(tmp_path):
    (port,) = free_ports(1)
    address = f"{get_node_ip_address()}:{port}"
    with ExitStack() as stack:
        folder = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="ds-", dir="/tmp", ignore_cleanup_errors=True)
        )
        variables = {
            "PYTHONPATH": str(REPOSITORY),
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            "RAY_FAKE_CLUSTER": "1",
            "RAY_enable_autoscaler_v2": "1",
            "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
            "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
        }
        environment = make_environment(folder, **variables)
        config = Path(folder, "autoscaling.json")
        config.write_text(json.dumps(make_autoscaling_config(address)))
        options = ["--head", f"--port={port}", f"--autoscaling-config={config}", "--include-dashboard=false"]
        start(stack, environment, 0, options)
        ended = subprocess.run(
            [sys.executable, "-c", DRIVER, address, str(tmp_path / "work"), str(MAX_NODES)],
            cwd=REPOSITORY,
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    assert ended.returncode == 0, ended.stderr[-3000:]
    # Ray logs changes of the cluster to the same stream.
    (line,) = (line for line in ended.stdout.splitlines() if line.startswith('{"before"'))
    seen = json.loads(line)
    assert seen == {"before": 1, "most": 1 + MAX_NODES, "after": 1, "trials": 30}


def make_autoscaling_config(address: str) -> dict[str, object]:
    """Return the configuration of the autoscaler: a head without CPUs, and nodes with one CPU."""
    machine = {"CPU": 1, "memory": 4_000_000_000, "object_store_memory": 80_000_000}
    steps = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
    return {
        "cluster_name": "simulated",
        "max_workers": MAX_NODES,
        "idle_timeout_minutes": IDLE_MINUTES,
        "upscaling_speed": 1.0,
        "provider": {
            "type": "external",
            "module": f"{simulated_nodes.__name__}.{simulated_nodes.Provider.__name__}",
            "launch_multiple": True,
            "disable_node_updaters": True,
            "head_node_id": FAKE_HEAD_NODE_ID,
            "gcs_address": address,
        },
        "available_node_types": {
            HEAD: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "cpu": {"resources": machine, "node_config": {}, "min_workers": 0, "max_workers": MAX_NODES},
        },
        "head_node_type": HEAD,
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        "cluster_synced_files": [],
        "rsync_exclude": [],
        "rsync_filter": [],
        **{f"{step}_commands": list[str]() for step in steps},
    }
