"""The manifests match the schemas of Kubernetes and KubeRay."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.infra.deployment import (
    ACCESS,
    CRONJOB,
    KUBERAY,
    NETWORK,
    RAYCLUSTER,
    RAYCRONJOB,
    RAYJOB,
    TOP,
)

SCHEMAS = Path(os.environ.get("DISTSPEC_TEST_SCHEMAS") or Path(__file__).parents[3] / "shared" / "schemas")
VERSION = "1.34"


def problems(deployment):
    for name, document in deployment.manifests():
        if document["apiVersion"].startswith("ray.io/"):
            schema = json.loads((SCHEMAS / f"{document['kind']}.json").read_text())
            errors = jsonschema.Draft7Validator(schema).iter_errors(document)
            yield from (f"{name}: {error.json_path}: {error.message}" for error in errors)
        else:
            try:
                kubernetes_validate.validate(document, VERSION, strict=True)
            except kubernetes_validate.ValidationError as error:
                yield f"{name}: {error.message}"


@pytest.fixture(autouse=True)
def schemas():
    if not SCHEMAS.exists():
        pytest.skip(f"no KubeRay schemas in {SCHEMAS}: set DISTSPEC_TEST_SCHEMAS to their folder")


def test_every_manifest_is_valid(deployment):
    assert {document["kind"] for _, document in deployment.manifests()} == {
        *("RayCluster", "RayJob", "RayCronJob", "CronJob", "NetworkPolicy"),
        *("Namespace", "ServiceAccount", "Role", "RoleBinding"),
    }
    assert list(problems(deployment)) == []


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (RAYCLUSTER, "maxReplicas: 8", "maxReplica: 8", "maxReplica"),
        (RAYCLUSTER, "mode: token", "mode: tokens", "tokens"),
        (RAYJOB, "containerPort: 6379", "containerPort: gcs", "gcs"),
        (RAYJOB, "entrypoint:", "entryPoint:", "entryPoint"),
        (RAYJOB, "shutdownAfterJobFinishes: true", "shutdownAfterJobFinishes: always", "always"),
        (RAYCRONJOB, "schedule:", "cron:", "cron"),
        (CRONJOB, "concurrencyPolicy", "concurencyPolicy", "concurencyPolicy"),
        (CRONJOB, "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: 1", "1"),
        (NETWORK, "policyTypes", "policyType", "policyType"),
        (ACCESS, "resourceNames: [distspec-nightly]", "resourceNames: distspec-nightly", "distspec-nightly"),
        (ACCESS, "verbs: [create]", "verb: [create]", "verb"),
        (ACCESS, "subjects:", "subject:", "subject"),
    ],
)
def test_invalid_manifest_is_reported(deployment, name, old, new, message):
    found = list(problems(deployment.replace(name, old, new)))
    assert any(message in line and line.startswith(name) for line in found), found


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kustomization_builds(deployment):
    ended = subprocess.run(
        ["kubectl", "kustomize", KUBERAY], cwd=TOP, capture_output=True, text=True, timeout=60, check=True
    )
    built = {document["kind"]: document for document in yaml.safe_load_all(ended.stdout)}
    job = built["ConfigMap"]["data"]["rayjob.yaml"]
    assert yaml.safe_load(job) == deployment.document(RAYJOB)
    (volume,) = built["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]["volumes"]
    assert volume["configMap"]["name"] == built["ConfigMap"]["metadata"]["name"]
    assert built["CronJob"]["metadata"]["namespace"] == "distspec"
