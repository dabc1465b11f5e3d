"""What worker groups offer, held against what the stages ask."""

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
from distspec.stages import embed, ingest, synthesize
from distspec.stages import load as loading
from distspec.stages import sweep as sweeping
from distspec.stages.session import ACTORS_PER_GPU
from tests.infra.agreement import parsed
from tests.infra.deployment import LAUNCHERS, Deployment

GIB = 2**30
STAGES = (assigning, embed, ingest, loading, sweeping, synthesize)
PLANNED, LARGE = 10**6, "1x64cpu1000gb"
"""Spectra whose stages a group must hold, and a machine that holds any."""
BULK_MB = 400.0
"""What README advises a task to read of a bulk product."""


def _groups(deployment: Deployment) -> Iterator[tuple[str, str, dict[str, float], int, int, str]]:
    """Yield file, group, what a node of it offers, how few and how many there are, and its image."""
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
            limits, asked = (container["resources"][key] for key in ("limits", "requests"))
            if limits != asked:
                yield name, group["groupName"], {}, 0, 0, "requests are not limits"
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
    """Return what Ray makes of an EC2 instance."""
    known: dict[str, Any] = INSTANCE_TYPES[kind]
    gpus = sum(gpu["Count"] for gpu in known.get("GpuInfo", {}).get("Gpus", []))
    memory = known["MemoryInfo"]["SizeInMiB"] * 2**20 * shares
    return {"CPU": known["VCpuInfo"]["DefaultVCpus"], "GPU": gpus, "memory": memory}


def _task_bytes(task_mb: float) -> float:
    return memory_module.estimate_loading_memory(task_mb * 1e6)


def resource_problems(deployment: Deployment) -> Iterator[str]:
    """Check that what the groups offer suffices for what the stages ask."""
    asked = [
        vars(each)["_default_options"]
        for stage in STAGES
        for each in vars(stage).values()
        if _is_remote(each)
    ]
    a_task = max(options["num_cpus"] for options in asked)
    an_actor = vars(embed.Embedder)["_default_options"]["num_cpus"]
    of_jobs = [c for _, job, args in deployment.jobs() if isinstance(c := parsed(job, args), Config)]
    workers = max(config.training.workers for config in of_jobs)
    threads = max(config.training.threads for config in of_jobs)
    needs = {
        stage.name: stage.memory_per_task
        for config in of_jobs
        for stage in plan_resources(
            config, PLANNED, machines.parse_machines(LARGE), ResourceRates.read()
        ).stages
        if stage.n_tasks
    }
    for name, kind, offers, fewest, most, image in _groups(deployment):
        where = f"{name}: {kind}"
        if not offers:
            yield f"{where}: {image}"
        elif kind == "head":
            if offers["CPU"]:
                yield f"{where}: work would land on it"
        elif kind == "gpu":
            if offers.get("GPU", 0) < 1 or offers["GPU"] * most < workers:
                yield f"{where}: too few GPUs for {workers} workers of training"
            if offers["CPU"] < max(threads, ACTORS_PER_GPU * an_actor * offers.get("GPU", 0)):
                yield f"{where}: {offers['CPU']} CPUs cannot hold {ACTORS_PER_GPU} actors a GPU"
            if offers["memory"] < needs["train"]:
                yield f"{where}: {offers['memory']:.3g} bytes cannot hold a worker of training"
            if not image.endswith("-cuda"):
                yield f"{where}: {image} has no CUDA"
        else:
            if fewest < 1:
                yield f"{where}: sweeps would begin with no CPU at all"
            if offers["CPU"] < a_task:
                yield f"{where}: no task fits"
            if offers["memory"] < offers["CPU"] * _task_bytes(IngestConfig().task_mb):
                yield f"{where}: {offers['memory']:.3g} bytes cannot hold a task on every CPU"
            for stage, need in needs.items():
                if stage != "train" and offers["memory"] < need:
                    yield f"{where}: {offers['memory']:.3g} bytes cannot hold a process of {stage}"
            if offers["memory"] < _task_bytes(BULK_MB):
                yield f"{where}: no task of a bulk product fits"
            if not image.endswith("-cpu"):
                yield f"{where}: {image} carries CUDA in vain"
    for name, job, args in deployment.jobs():
        config = parsed(job, args)
        if (
            job in ("pipeline", "train")
            and isinstance(config, Config)
            and config.training.use_gpu is not True
        ):
            yield f"{name}: {' '.join(args)}: no GPU is there when training begins: set --training.use-gpu"


def _is_remote(each: object) -> bool:
    return hasattr(each, "_default_options") and "num_cpus" in vars(each)["_default_options"]
