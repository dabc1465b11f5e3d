"""The files of a deployment are consistent with the code, the lock file, Ray and each other."""

import pytest

from tests.infra import consistency
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

CHECKS = {**consistency.CHECKS, "resource_problems": resource_problems}


@pytest.mark.parametrize("check", CHECKS)
def test_deployment_has_no_problems(deployment, check):
    assert list(CHECKS[check](deployment)) == []


def test_guide_and_jobs_contain_commands(deployment):
    assert {name for name, _, _ in deployment.jobs()} >= {GUIDE, RAYJOB, RAYCRONJOB}


BROKEN = [
    ("command", RAYJOB, "jobs.pipeline", "jobs.pipelines", "no module jobs.pipelines"),
    ("command", RAYJOB, "jobs.pipeline dja", "jobs.pipeline djb", "unknown recipe"),
    ("command", RAYCRONJOB, "--training.use-gpu", "--training.gpus", "invalid arguments"),
    ("command", GUIDE, "--root s3://my-bucket/dja", "--roots s3://my-bucket/dja", "invalid arguments"),
    ("command", RAYJOB, "s3://my-bucket", "s3://your-bucket", "the bucket of s3://your-bucket"),
    ("variable", AWS, "RAY_AUTH_MODE", "RAY_AUTH_MODUS", "RAY_AUTH_MODUS"),
    ("variable", DOCKERFILE, "RAY_USAGE_STATS_ENABLED", "RAY_USAGE_STATISTICS", "RAY_USAGE_STATISTICS"),
    ("variable", GCP, "RAY_enable_autoscaler_v2", "RAY_enable_autoscaler_v3", "RAY_enable_autoscaler_v3"),
    ("version", LOCK, "\nray==2.60.0", "\nray==2.61.0", "expected 2.61.0"),
    ("version", RAYCLUSTER, 'rayVersion: "2.60.0"', 'rayVersion: "2.59.0"', "rayVersion 2.59.0"),
    ("version", AWS, "0.1.0-py3.11", "0.1.0-py3.10", "python 3.10"),
    ("version", GCP, "ray2.60.0-cuda", "ray2.60.0-rocm", "no such target"),
    ("version", DOCKERFILE, "ARG PYTHON=3.11", "ARG PYTHON=3.14", "default is not Python"),
    ("path", DOCKERFILE, "COPY jobs jobs", "COPY job job", "no such file"),
    ("path", IGNORED, "!jobs\n", "", "excludes jobs"),
    ("path", DOCKERFILE, "HOME=/home/ray", "HOME=/root", "not the home of its user"),
    ("path", DOCKERFILE, "USER 1000", "USER root", "final users"),
    ("path", DOCKERFILE, "700 /home/ray/token", "700 /home/ray/.token", "does not create /home/ray/token"),
    (
        "path",
        AWS,
        "RAY_AUTH_TOKEN_PATH=/home/ray/token",
        "RAY_AUTH_TOKEN_PATH=/root/token",
        "not the path",
    ),
    ("path", GCP, "RAY_AUTH_MODE=token", "RAY_AUTH_MODE=disabled", "no token authentication"),
    ("path", AWS, "~/.distspec/token", "~/.elsewhere", "does not describe"),
    ("path", RAYCLUSTER, "authOptions: { mode: token }", "authOptions: {}", "no token authentication"),
    ("path", RAYJOB, "runAsUser: 1000", "runAsUser: 1001", "not the user of the image"),
    ("name", RAYJOB, "maxReplicas: 8", "maxReplicas: 9", "cluster spec differs"),
    ("name", RAYCRONJOB, "backoffLimit: 1", "backoffLimit: 2", "job spec differs"),
    ("name", RAYCRONJOB, '"30 2 * * *"', '"30 3 * * *"', "schedule differs"),
    ("name", CRONJOB, "name: distspec-rayjob", "name: distspec-job", "not generated"),
    ("name", CRONJOB, "/config/rayjob.yaml", "/config/job.yaml", "mounted are"),
    ("name", CRONJOB, "rayjob/distspec-nightly", "rayjob/nightly", "the schedule refers to"),
    ("name", CRONJOB, "--namespace=distspec", "--namespace=default", "expected namespace"),
    (
        "name",
        CRONJOB,
        "serviceAccountName: distspec-schedule",
        "serviceAccountName: robot",
        "no ServiceAccount",
    ),
    ("name", CRONJOB, "concurrencyPolicy: Forbid", "concurrencyPolicy: Allow", "not forbidden"),
    ("name", CRONJOB, "--timeout=86000s", "--timeout=600s", "timeout is shorter"),
    ("name", ACCESS, "resources: [rayjobs]", 'resources: ["*"]', "too broad"),
    ("name", NETWORK, "part-of: distspec", "part-of: other", "does not select all pods"),
    ("secret", AWS, "cluster_name: distspec", "cluster_name: AKIAABCDEFGHIJKLMNOP", "AKIA"),
    ("secret", AWS, "RAY_AUTH_TOKEN_PATH=/home", "RAY_AUTH_TOKEN=/home", "RAY_AUTH_TOKEN="),
    ("secret", ACCESS, "kind: Namespace", "kind: Secret", "contains a Secret"),
    ("secret", DOCKERFILE, "ARG EXTRAS=", "ARG REGISTRY_PASSWORD=", "PASSWORD"),
    ("resource", AWS, "InstanceType: m7i.2xlarge", "InstanceType: t3.small", "a task of a bulk product"),
    ("resource", AWS, "InstanceType: g6.2xlarge", "InstanceType: m7i.2xlarge", "too few GPUs"),
    ("resource", AWS, "min_workers: 2", "min_workers: 0", "no CPU until"),
    (
        "resource",
        AWS,
        "head:\n    resources: { CPU: 0 }",
        "head:\n    resources: { CPU: 4 }",
        "head node accepts tasks",
    ),
    ("resource", AWS, "ray2.60.0-cuda", "ray2.60.0-cpu", "image has no CUDA"),
    ("resource", GCP, "CPU: 8, GPU: 1", "CPU: 2, GPU: 1", "actors per GPU"),
    ("resource", RAYJOB, "memory: 26Gi", "memory: 4Gi", "a task per CPU"),
    ("resource", RAYJOB, "memory: 26Gi", "memory: 3Gi", "a training worker"),
    ("resource", RAYJOB, "memory: 26Gi", "memory: 1Gi", "a process of stage cluster"),
    ("resource", RAYCLUSTER, 'requests: { cpu: "7"', 'requests: { cpu: "1"', "requests differ from limits"),
    ("resource", RAYJOB, "--training.use-gpu True", "--training.use-gpu None", "set --training.use-gpu True"),
]


@pytest.mark.parametrize(("check", "name", "old", "new", "message"), BROKEN)
def test_inconsistency_is_reported(deployment, check, name, old, new, message):
    found = "\n".join(CHECKS[f"{check}_problems"](deployment.replace(name, old, new)))
    assert message in found
