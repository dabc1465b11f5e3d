"""Check that the resources of worker groups suffice for the stages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from moto.ec2.models.instance_types import INSTANCE_TYPES
from ray._private.ray_constants import DEFAULT_OBJECT_STORE_MEMORY_PROPORTION
from ray.autoscaler._private.util import prepare_config

from distspec.core import memory as memory_module
from distspec.ingest.source import IngestConfig
from distspec.pipeline import machines
from distspec.pipeline.config import Config
from distspec.pipeline.planning import plan_resources
from distspec.pipeline.rates import ResourceRates
from distspec.stages import assign as assigning
from distspec.stages import embed, ingest, simulate, sweep_runner
from distspec.stages import load as loading
from distspec.stages.session import ACTORS_PER_GPU
from tests.infra.consistency import parse_job
from tests.infra.deployment import LAUNCHERS, Deployment

GIB = 2**30
STAGES = (assigning, embed, ingest, loading, sweep_runner, simulate)
PLANNED, LARGE = 10**6, "1x64cpu1000gb"
"""Number of spectra that are planned, and a machine that is large enough for every stage."""
BULK_MB = 400.0
"""Recommended amount that a task reads of a bulk product [MB]."""


def _groups(deployment: Deployment) -> Iterator[tuple[str, str, dict[str, float], int, int, str]]:
    """Yield file, group, resources of a node, smallest and largest number of nodes, and image."""
    shares = 1.0 - DEFAULT_OBJECT_STORE_MEMORY_PROPORTION
    for name in LAUNCHERS:
        config = prepare_config(deployment.document(name))
        for kind, node in config["available_node_types"].items():
            offers = dict(node["resources"]) or _instance(node["node_config"]["InstanceType"], shares)
            image = node.get("docker", {}).get("worker_image") or config["docker"]["worker_image"]
            yield name, kind, offers, node["min_workers"], node["max_workers"], image
    for name, cluster in deployment.clusters().items():
        for group in cluster["workerGroupSpecs"]:
            (container,) = group["template"]["spec"]["containers"]
            limits, requests = (container["resources"][key] for key in ("limits", "requests"))
            if limits != requests:
                yield name, group["groupName"], {}, 0, 0, "requests differ from limits"
            offers = {
                "CPU": float(limits["cpu"]),
                "GPU": float(limits.get("nvidia.com/gpu", 0)),
                "memory": float(limits["memory"].removesuffix("Gi")) * GIB * shares,
            }
            yield (
                name,
                group["groupName"],
                offers,
                group["minReplicas"],
                group["maxReplicas"],
                container["image"],
            )


def _instance(kind: str, shares: float) -> dict[str, float]:
    """Return the resources that Ray detects on an EC2 instance."""
    known: dict[str, Any] = INSTANCE_TYPES[kind]
    gpus = sum(gpu["Count"] for gpu in known.get("GpuInfo", {}).get("Gpus", []))
    memory = known["MemoryInfo"]["SizeInMiB"] * 2**20 * shares
    return {"CPU": known["VCpuInfo"]["DefaultVCpus"], "GPU": gpus, "memory": memory}


def _task_bytes(task_mb: float) -> float:
    return memory_module.estimate_loading_memory(task_mb * 1e6)


def resource_problems(deployment: Deployment) -> Iterator[str]:
    """Check that the resources of every group suffice for its tasks."""
    remote_options = [
        vars(member)["_default_options"]
        for stage in STAGES
        for member in vars(stage).values()
        if _is_remote(member)
    ]
    task_cpus = max(options["num_cpus"] for options in remote_options)
    actor_cpus = vars(embed.Embedder)["_default_options"]["num_cpus"]
    job_configs = [c for _, job, args in deployment.jobs() if isinstance(c := parse_job(job, args), Config)]
    workers = max(config.training.workers for config in job_configs)
    threads = max(config.training.threads for config in job_configs)
    required_memory = {
        stage.name: stage.memory_per_task
        for config in job_configs
        for stage in plan_resources(
            config, PLANNED, machines.parse_machines(LARGE), ResourceRates.read()
        ).stages
        if stage.n_tasks
    }
    for name, kind, offers, min_nodes, max_nodes, image in _groups(deployment):
        where = f"{name}: {kind}"
        if not offers:
            yield f"{where}: {image}"
        elif kind == "head":
            if offers["CPU"]:
                yield f"{where}: head node accepts tasks"
        elif kind == "gpu":
            if offers.get("GPU", 0) < 1 or offers["GPU"] * max_nodes < workers:
                yield f"{where}: too few GPUs for {workers} training workers"
            if offers["CPU"] < max(threads, ACTORS_PER_GPU * actor_cpus * offers.get("GPU", 0)):
                yield f"{where}: {offers['CPU']} CPUs are too few for {ACTORS_PER_GPU} actors per GPU"
            if offers["memory"] < required_memory["train"]:
                yield f"{where}: {offers['memory']:.3g} bytes are too few for a training worker"
            if not image.endswith("-cuda"):
                yield f"{where}: image has no CUDA: {image}"
        else:
            if min_nodes < 1:
                yield f"{where}: a sweep has no CPU until nodes are added"
            if offers["CPU"] < task_cpus:
                yield f"{where}: too few CPUs for a task"
            if offers["memory"] < offers["CPU"] * _task_bytes(IngestConfig().task_mb):
                yield f"{where}: {offers['memory']:.3g} bytes are too few for a task per CPU"
            for stage, need in required_memory.items():
                if stage != "train" and offers["memory"] < need:
                    yield f"{where}: {offers['memory']:.3g} bytes are too few for a process of stage {stage}"
            if offers["memory"] < _task_bytes(BULK_MB):
                yield f"{where}: too little memory for a task of a bulk product"
            if not image.endswith("-cpu"):
                yield f"{where}: CPU nodes need no CUDA: {image}"
    for name, job, args in deployment.jobs():
        config = parse_job(job, args)
        if (
            job in ("pipeline", "train")
            and isinstance(config, Config)
            and config.training.use_gpu is not True
        ):
            yield f"{name}: {' '.join(args)}: no GPU node at the start: set --training.use-gpu True"


def _is_remote(member: object) -> bool:
    return hasattr(member, "_default_options") and "num_cpus" in vars(member)["_default_options"]
