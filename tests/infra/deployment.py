"""Files of a deployment as text, and copies with modifications."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

TOP = Path(__file__).parents[2]
AWS, GCP = "ray_cluster.yaml", "infra/gcp/ray_cluster.yaml"
DOCKERFILE, IGNORED, LOCK = "infra/Dockerfile", "infra/Dockerfile.dockerignore", "infra/requirements.lock"
GUIDE, SECURITY, PROJECT = "docs/guides/clusters.md", "SECURITY.md", "pyproject.toml"
KUBERAY = "infra/kuberay"
RAYCLUSTER, RAYJOB, RAYCRONJOB = (f"{KUBERAY}/{name}.yaml" for name in ("raycluster", "rayjob", "raycronjob"))
CRONJOB, ACCESS, NETWORK = (f"{KUBERAY}/{name}.yaml" for name in ("cronjob", "access", "networkpolicy"))
KUSTOMIZATION = f"{KUBERAY}/kustomization.yaml"
POLICIES = tuple(f"infra/aws/{name}-policy.json" for name in ("bucket", "head", "operator"))
TRUST = "infra/aws/trust-ec2.json"
LAUNCHERS = (AWS, GCP)
FILES = (
    *(AWS, GCP, DOCKERFILE, IGNORED, LOCK, GUIDE, SECURITY, PROJECT),
    *(RAYCLUSTER, RAYJOB, RAYCRONJOB, CRONJOB, ACCESS, NETWORK, KUSTOMIZATION),
    *(*POLICIES, TRUST),
)
IMAGE = re.compile(r"\bdistspec:(?P<distspec>[\w.]+)-py(?P<python>[\d.]+)-ray(?P<ray>[\d.]+)-(?P<target>\w+)")
JOB = re.compile(r"python -m jobs\.(?P<job>\w+)(?P<args>(?:[ \n]+(?:\\\n *)?[^\s\\`|&#]+)*)")


@dataclass(frozen=True)
class Deployment:
    """Contents of the files, by path relative to the repository."""

    texts: Mapping[str, str]

    def replace(self, name: str, old: str, new: str) -> Deployment:
        """Return a copy in which a string is replaced everywhere in one file."""
        assert old in self.texts[name], f"{name} does not contain {old!r}"
        return Deployment({**self.texts, name: self.texts[name].replace(old, new)})

    def documents(self, name: str) -> list[dict[str, Any]]:
        """Return the documents of a YAML file."""
        return list(yaml.safe_load_all(self.texts[name]))

    def document(self, name: str) -> dict[str, Any]:
        """Return the only document of a YAML file."""
        (document,) = self.documents(name)
        return document

    def manifests(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield every Kubernetes manifest with the name of its file."""
        for name in (RAYCLUSTER, RAYJOB, RAYCRONJOB, CRONJOB, ACCESS, NETWORK):
            for document in self.documents(name):
                yield name, document

    def clusters(self) -> dict[str, dict[str, Any]]:
        """Return the RayCluster specs by file."""
        return {
            RAYCLUSTER: self.document(RAYCLUSTER)["spec"],
            RAYJOB: self.document(RAYJOB)["spec"]["rayClusterSpec"],
            RAYCRONJOB: self.document(RAYCRONJOB)["spec"]["jobTemplate"]["rayClusterSpec"],
        }

    def jobs(self) -> Iterator[tuple[str, str, list[str]]]:
        """Yield file, job and arguments of every command that runs a job."""
        for name in (GUIDE, SECURITY):
            for found in JOB.finditer(self.texts[name]):
                yield name, found["job"], shlex.split(found["args"].replace("\\\n", " "))
        for name in (RAYJOB, RAYCRONJOB):
            for text in strings(self.document(name)):
                for found in JOB.finditer(text):
                    yield name, found["job"], shlex.split(found["args"])

    def pinned(self) -> dict[str, str]:
        """Return the pinned versions by package."""
        lines = [line for line in self.texts[LOCK].splitlines() if line and not line.startswith("#")]
        return dict(line.split("==", 1) for line in lines)

    def without_comments(self, name: str) -> str:
        """Return the text of a file without its comments."""
        return re.sub(r"(^|\s)#.*", "", self.texts[name])


def strings(node: object) -> Iterator[str]:
    """Yield every string in a document."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, Mapping):
        for value in node.values():
            yield from strings(value)
    elif isinstance(node, list):
        for value in node:
            yield from strings(value)


def read_deployment() -> Deployment:
    """Return the deployment of this repository."""
    return Deployment({name: (TOP / name).read_text() for name in FILES})
