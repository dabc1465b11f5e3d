"""A deployment's files agree with the code, the lock, Ray and each other."""

import pytest

from tests.infra import agreement
from tests.infra.deployment import (
    ACCESS,
    AWS,
    CRONJOB,
    DOCKERFILE,
    GCP,
    GUIDE,
    IGNORED,
    LOCK,
    NETWORK,
    RAYCLUSTER,
    RAYCRONJOB,
    RAYJOB,
)
from tests.infra.resources import resource_problems

CHECKS = {**agreement.CHECKS, "resource_problems": resource_problems}


@pytest.mark.parametrize("check", CHECKS)
def test_it_agrees(deployment, check):
    assert list(CHECKS[check](deployment)) == []


def test_there_are_commands_to_check(deployment):
    assert {name for name, _, _ in deployment.jobs()} >= {GUIDE, RAYJOB, RAYCRONJOB}


BROKEN = [
    ("command", RAYJOB, "jobs.pipeline", "jobs.pipelines", "no jobs.pipelines"),
    ("command", RAYJOB, "jobs.pipeline dja", "jobs.pipeline djb", "no recipe"),
    ("command", RAYCRONJOB, "--training.use-gpu", "--training.gpus", "does not take that"),
    ("command", GUIDE, "--root s3://my-bucket/dja", "--roots s3://my-bucket/dja", "does not take that"),
    ("command", RAYJOB, "s3://my-bucket", "s3://your-bucket", "in no bucket"),
    ("variable", AWS, "RAY_AUTH_MODE", "RAY_AUTH_MODUS", "RAY_AUTH_MODUS"),
    ("variable", DOCKERFILE, "RAY_USAGE_STATS_ENABLED", "RAY_USAGE_STATISTICS", "RAY_USAGE_STATISTICS"),
    ("variable", GCP, "RAY_enable_autoscaler_v2", "RAY_enable_autoscaler_v3", "RAY_enable_autoscaler_v3"),
    ("version", LOCK, "\nray==2.60.0", "\nray==2.61.0", "it is 2.61.0"),
    ("version", RAYCLUSTER, 'rayVersion: "2.60.0"', 'rayVersion: "2.59.0"', "rayVersion 2.59.0"),
    ("version", AWS, "0.1.0-py3.11", "0.1.0-py3.10", "python 3.10"),
    ("version", GCP, "ray2.60.0-cuda", "ray2.60.0-rocm", "no such target"),
    ("version", DOCKERFILE, "ARG PYTHON=3.11", "ARG PYTHON=3.14", "not of Python"),
    ("path", DOCKERFILE, "COPY jobs jobs", "COPY job job", "no such file"),
    ("path", IGNORED, "!jobs\n", "", "keeps jobs"),
    ("path", DOCKERFILE, "HOME=/home/ray", "HOME=/root", "not its user's"),
    ("path", DOCKERFILE, "USER 1000", "USER root", "ends as"),
    ("path", DOCKERFILE, "700 /home/ray/token", "700 /home/ray/.token", "makes no /home/ray/token"),
    ("path", AWS, "RAY_AUTH_TOKEN_PATH=/home/ray/token", "RAY_AUTH_TOKEN_PATH=/root/token", "points"),
    ("path", GCP, "RAY_AUTH_MODE=token", "RAY_AUTH_MODE=disabled", "without token"),
    ("path", AWS, "~/.distspec/token", "~/.elsewhere", "does not say to make"),
    ("path", RAYCLUSTER, "authOptions: { mode: token }", "authOptions: {}", "without token"),
    ("path", RAYJOB, "runAsUser: 1000", "runAsUser: 1001", "another than"),
    ("name", RAYJOB, "maxReplicas: 8", "maxReplicas: 9", "is not that of"),
    ("name", RAYCRONJOB, "backoffLimit: 1", "backoffLimit: 2", "its job is not that"),
    ("name", RAYCRONJOB, '"30 2 * * *"', '"30 3 * * *"', "its schedule is not that"),
    ("name", CRONJOB, "name: distspec-rayjob", "name: distspec-job", "made by nobody"),
    ("name", CRONJOB, "/config/rayjob.yaml", "/config/job.yaml", "reads"),
    ("name", CRONJOB, "rayjob/distspec-nightly", "rayjob/nightly", "the schedule knows"),
    ("name", CRONJOB, "--namespace=distspec", "--namespace=default", "the namespace is"),
    (
        "name",
        CRONJOB,
        "serviceAccountName: distspec-schedule",
        "serviceAccountName: robot",
        "no ServiceAccount",
    ),
    ("name", CRONJOB, "concurrencyPolicy: Forbid", "concurrencyPolicy: Allow", "overlap"),
    ("name", CRONJOB, "--timeout=86000s", "--timeout=600s", "gives up"),
    ("name", ACCESS, "resources: [rayjobs]", 'resources: ["*"]', "more than it must"),
    ("name", NETWORK, "part-of: distspec", "part-of: other", "guards not all"),
    ("secret", AWS, "cluster_name: distspec", "cluster_name: AKIAABCDEFGHIJKLMNOP", "AKIA"),
    ("secret", AWS, "RAY_AUTH_TOKEN_PATH=/home", "RAY_AUTH_TOKEN=/home", "RAY_AUTH_TOKEN="),
    ("secret", ACCESS, "kind: Namespace", "kind: Secret", "a Secret"),
    ("secret", DOCKERFILE, "ARG EXTRAS=", "ARG REGISTRY_PASSWORD=", "PASSWORD"),
    ("resource", AWS, "InstanceType: m7i.2xlarge", "InstanceType: t3.small", "bulk product"),
    ("resource", AWS, "InstanceType: g6.2xlarge", "InstanceType: m7i.2xlarge", "too few GPUs"),
    ("resource", AWS, "min_workers: 2", "min_workers: 0", "no CPU at all"),
    (
        "resource",
        AWS,
        "head:\n    resources: { CPU: 0 }",
        "head:\n    resources: { CPU: 4 }",
        "work would land",
    ),
    ("resource", AWS, "ray2.60.0-cuda", "ray2.60.0-cpu", "no CUDA"),
    ("resource", GCP, "CPU: 8, GPU: 1", "CPU: 2, GPU: 1", "actors a GPU"),
    ("resource", RAYJOB, "memory: 26Gi", "memory: 4Gi", "every CPU"),
    ("resource", RAYJOB, "memory: 26Gi", "memory: 3Gi", "a worker of training"),
    ("resource", RAYJOB, "memory: 26Gi", "memory: 1Gi", "a process of cluster"),
    ("resource", RAYCLUSTER, 'requests: { cpu: "7"', 'requests: { cpu: "1"', "requests are not limits"),
    ("resource", RAYJOB, "--training.use-gpu True", "--training.use-gpu None", "set --training.use-gpu"),
]


@pytest.mark.parametrize(("check", "name", "old", "new", "said"), BROKEN)
def test_what_disagrees_is_seen(deployment, check, name, old, new, said):
    found = "\n".join(CHECKS[f"{check}_problems"](deployment.but(name, old, new)))
    assert said in found
